"""Checks a `.pt` file before PyTorch reads it: how large it would become, and which tensors it repeats."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from im2hands.io.errors import CheckpointError
from im2hands.io.limits import MEGABYTE

LARGEST_WEIGHTS = 8192 * MEGABYTE
SMALL = 16 * MEGABYTE
"""Size that tensors may always have, regardless of the size of their file, so that small buffers may repeat one number."""


def check_archive(path: Path) -> None:
    """Raises CheckpointError for a file that is no weights for its size, or an archive that would expand."""
    size = path.stat().st_size
    if size > LARGEST_WEIGHTS:
        raise CheckpointError(f"{path}: has {size / 1e9:.0f} GB, too much for a weight file; is it the right file?")
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise CheckpointError(f"{path}: damaged or not a PyTorch weight file ({error}); fetch it again.") from None
    declared = sum(part.file_size for part in parts)
    if declared > size:
        raise CheckpointError(
            f"{path}: refused, because it would expand from {size:,} to {declared:,} bytes, and PyTorch does not compress "
            "weights; fetch it from its original source."
        )


def check_sizes(path: Path, tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Raises CheckpointError for tensors that take more memory than their file has, by repeating what is there."""
    allowed, taken = SMALL + 4 * path.stat().st_size, 0
    for name, tensor in tensors:
        taken += tensor.numel() * tensor.element_size()
        if taken > allowed:
            raise CheckpointError(
                f"{path}: the tensor {name} of shape {tuple(tensor.shape)} is larger than the file; fetch it again."
            )
