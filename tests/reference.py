"""The golden files of the repository: numbers that the original code gave."""

from pathlib import Path

from im2hands.parity.case import GoldenFolder
from im2hands.parity.registry import all_cases

FOLDER = GoldenFolder(Path(__file__).parent / "golden", all_cases())
