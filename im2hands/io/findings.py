"""Results of checks of data or of a machine, one line each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Found:
    """The result of one check. ok: usable.  text: what was found and, if it is not ok, what to do.

    optional: nothing stops without it.
    """

    ok: bool
    subject: str
    text: str
    optional: bool = False

    @property
    def hinders(self) -> bool:
        return not self.ok and not self.optional

    def line(self) -> str:
        mark = "ok     " if self.ok else "without" if self.optional else "MISSING"
        return f"{mark} {self.subject}: {self.text}"
