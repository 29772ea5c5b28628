"""Resume state of a training: written atomically, taken only by the run that it belongs to.

`checkpoints/<network>/last.ckpt` is the state of a run in progress, `finished.ckpt` that of the last finished one, from which
a longer run of otherwise equal parameters continues.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from im2hands.io.atomic import atomic_path
from im2hands.io.errors import CheckpointError
from im2hands.io.hashing import digest
from im2hands.networks.published.reader import safe_load

LAST, FINISHED = "last.ckpt", "finished.ckpt"


def fingerprint(parameters: Mapping[str, Any], sources: Mapping[str, str], code: Iterable[ModuleType]) -> str:
    """Hash of all that decides the weights but the number of steps.

    parameters: without that number, so that a finished run can be made longer.
    sources: role -> SHA-256 of an input.  code: the modules whose text counts as the code version.
    """
    texts = {module.__name__: inspect.getsource(module) for module in code}
    return digest({"parameters": dict(parameters), "sources": dict(sources), "code": texts})


class CheckpointFolder:
    """The resume state of one training.

    fingerprint: of the run at hand; states with another one are passed over.
    """

    def __init__(self, folder: str | os.PathLike, fingerprint: str) -> None:
        self.folder, self.fingerprint = Path(folder), fingerprint

    def save(self, state: Mapping[str, Any]) -> None:
        """Writes tensors, numbers, texts and containers of them; a kill leaves the former state in place."""
        with atomic_path(self.folder / LAST) as temporary:
            torch.save({**state, "fingerprint": self.fingerprint}, temporary)

    def find(self, steps: int) -> dict[str, Any] | None:
        """The state to go on from, or None to start afresh.

        steps: length of the run at hand: a finished state is taken only if it is shorter.
        """
        for part in self.folder.glob(".*.part.ckpt"):
            part.unlink(missing_ok=True)
        unfinished = self._load(LAST)
        if unfinished is not None and unfinished["step"] <= steps:
            return unfinished
        finished = self._load(FINISHED)
        if finished is not None and finished["step"] < steps:
            return finished
        return None

    def finish(self) -> None:
        """Archives the state once the outputs are written, so that a forced re-run trains anew."""
        last = self.folder / LAST
        if last.exists():
            os.replace(last, self.folder / FINISHED)

    def _load(self, name: str) -> dict[str, Any] | None:
        path = self.folder / name
        if not path.is_file():
            return None
        try:
            state = safe_load(path)
        except CheckpointError as error:
            print(f"warning: {error} Starting afresh.", file=sys.stderr)
            return None
        if not isinstance(state, dict) or state.get("fingerprint") != self.fingerprint:
            print(f"{path}: belongs to other parameters, data or code; not used", file=sys.stderr)
            return None
        return state
