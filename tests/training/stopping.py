"""Ends a training from within its own data: by an error, as a kill would, or by SIGTERM."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest


def interrupted_at(monkeypatch: pytest.MonkeyPatch, dataset: type, index: int) -> None:
    """Makes item `index` of the training data raise, as if the process had ended there."""
    original = dataset.__getitem__

    def stop(self, i):
        if i == index:
            raise ConnectionAbortedError("stopped by the test")
        return original(self, i)

    monkeypatch.setattr(dataset, "__getitem__", stop)


def stopped_at(monkeypatch: pytest.MonkeyPatch, dataset: type, index: int, train: Callable[[], object]) -> None:
    """Runs `train` until item `index` of the training data is asked for."""
    with monkeypatch.context() as patch:
        interrupted_at(patch, dataset, index)
        with pytest.raises(ConnectionAbortedError):
            train()


def asked_items(monkeypatch: pytest.MonkeyPatch, dataset: type) -> list[int]:
    """A list that grows with the items of the training data that are asked for."""
    asked: list[int] = []
    original = dataset.__getitem__
    monkeypatch.setattr(dataset, "__getitem__", lambda self, i: asked.append(i) or original(self, i))
    return asked


def terminated_at(monkeypatch: pytest.MonkeyPatch, dataset: type, index: int) -> None:
    """Sends SIGTERM to this process while item `index` of the training data is fetched."""
    original = dataset.__getitem__

    def stop(self, i):
        if i == index:
            assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL, "the signal would end the tests"
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, i)

    monkeypatch.setattr(dataset, "__getitem__", stop)


def ends_as_preempted(train: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> str:
    """Runs `train`, which must end with exit code 143, and returns its one sentence; nobody keeps the signal."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stop:
        train()
    assert stop.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before
    (sentence,) = [line for line in capsys.readouterr().err.splitlines() if "interrupted" in line]
    return sentence
