"""Resume state of a training: written atomically and used only by the run to which it belongs.

`checkpoints/<network>/last.ckpt` is the state of a run in progress, `finished.ckpt` that of the last finished one, from which
a longer run of otherwise equal parameters continues.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from im2hands.io.atomic import atomic_path
from im2hands.io.errors import CheckpointError
from im2hands.io.hashing import digest
from im2hands.networks.published.reader import safe_load

LAST, FINISHED = "last.ckpt", "finished.ckpt"


def fingerprint(parameters: Mapping[str, Any], sources: Mapping[str, str], code: Mapping[str, str]) -> str:
    """Hash of all that decides the weights.

    parameters: without the number of steps where a finished run may be made longer.  sources: role -> SHA-256 of an input.
    code: file -> SHA-256.
    """
    return digest({"parameters": dict(parameters), "sources": dict(sources), "code": dict(code)})


class CheckpointFolder:
    """The resume state of one training.

    fingerprint: fingerprint of this run; states with another one are ignored.
    """

    def __init__(self, folder: str | os.PathLike, fingerprint: str) -> None:
        self.folder, self.fingerprint = Path(folder), fingerprint

    def save(self, state: Mapping[str, Any]) -> None:
        """Writes tensors, numbers, texts and containers of them; a kill leaves the former state in place."""
        with atomic_path(self.folder / LAST) as temporary:
            torch.save({**state, "fingerprint": self.fingerprint}, temporary)

    def find(self, steps: int, validate_every: int) -> dict[str, Any] | None:
        """The state to continue from, or None to start afresh.

        steps: length of this run; a finished state is used only if it is shorter.
        validate_every: steps between validations. The state of a shorter run is used only if this run would have
        been in that very state; otherwise going on would not equal one long run, and standard error says so.
        """
        for part in self.folder.glob(".*.part.ckpt"):
            part.unlink(missing_ok=True)
        for name, longest in ((LAST, steps), (FINISHED, steps - 1)):
            state = self._load(name, steps)
            if state and state["step"] <= longest and self._is_on_the_way(name, state, steps, validate_every):
                return state
        return None

    def finish(self) -> None:
        """Archives the state once the outputs are written, so that a forced re-run starts from the beginning."""
        last = self.folder / LAST
        if last.exists():
            os.replace(last, self.folder / FINISHED)

    def _is_on_the_way(self, name: str, state: Mapping[str, Any], steps: int, validate_every: int) -> bool:
        """Whether a run of `steps` steps would have validated before this state exactly if the state has been."""
        step, validated = state["step"], state.get("validated", True)
        if validated == (step == 0 or step == steps or step % validate_every == 0):
            return True
        reason = (
            f"it was validated at its last step, {step}, which is not a multiple of {validate_every}"
            if validated
            else f"it was not validated at step {step}"
        )
        print(
            f"{self.folder / name}: {reason}; continuing it to {steps} steps would not equal one long run, so the training "
            "starts from the beginning.",
            file=sys.stderr,
        )
        return False

    def _load(self, name: str, steps: int) -> dict[str, Any] | None:
        path = self.folder / name
        if not path.is_file():
            return None
        try:
            state = safe_load(path)
        except CheckpointError as error:
            print(f"warning: {error} The training starts from the beginning.", file=sys.stderr)
            return None
        if not isinstance(state, dict) or state.get("fingerprint") != self.fingerprint:
            print(
                f"{path}: not used, because parameters, data or code have changed{_length(state, steps)}",
                file=sys.stderr,
            )
            return None
        return state


def _length(state: Any, steps: int) -> str:
    """What to add if the state belongs to a run of another length."""
    made = state.get("steps", steps) if isinstance(state, dict) else steps
    if made == steps:
        return ""
    return (
        f". It belongs to a run of {made} steps, and this run has {steps}: if the learning rate or the loss depends on the "
        "number of steps, continuing would not equal one long run; the training starts from the beginning"
    )
