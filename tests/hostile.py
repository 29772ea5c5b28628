"""An object that runs a command when it is unpickled."""

import os
from pathlib import Path


class Hostile:
    """Makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)
