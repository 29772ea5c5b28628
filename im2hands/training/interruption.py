"""Stops a training on SIGTERM (a preempted job, `scancel`, a time limit) with a message, so that it can be continued.

The current step ends, its state is saved, and the process ends with exit code 143, which is 128 + SIGTERM. Lightning's own
handling, which ends with exit code 0 and saves nothing, is disabled.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from types import TracebackType
from typing import Any

EXIT_CODE = 128 + signal.SIGTERM
PATIENCE_S = 10.0
"""How long a validation may continue after the signal; when it is done, its result is saved. Slurm waits 30 seconds."""


class TrainingInterruptedError(SystemExit):
    """Ends the process with exit code 143; the sentence has been printed.

    saved_step: the step from which the same command continues.
    """

    def __init__(self, label: str, step: int, steps: int, saved_step: int) -> None:
        super().__init__(EXIT_CODE)
        begins = "to continue from there" if saved_step == step else f"to continue from step {saved_step}"
        print(
            f"{label}: interrupted at step {step} of {steps}; run the same command {begins}.",
            file=sys.stderr,
            flush=True,
        )


class Interruption:
    """Notes SIGTERM while its block runs and does nothing else; the training checks it between two steps."""

    def __init__(self) -> None:
        self._since: float | None = None

    @property
    def requested(self) -> bool:
        return self._since is not None

    @property
    def is_overdue(self) -> bool:
        """Whether the signal came so long ago that a kill must be expected."""
        return self._since is not None and time.monotonic() - self._since > PATIENCE_S

    def listen(self) -> None:
        """Takes SIGTERM over, also from whoever has taken it meanwhile."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._note)

    def __enter__(self) -> Interruption:
        self._former = signal.getsignal(signal.SIGTERM)
        self.listen()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL if self._former is None else self._former)

    def _note(self, *_: Any) -> None:
        if self._since is None:
            self._since = time.monotonic()


def ignore_in_loader(_: int) -> None:
    """Start of a loader process: a signal to all processes of a job must not break off the step that is to be saved.

    The process ends with its parent all the same.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
