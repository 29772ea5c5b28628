"""Hand models as files hold them, for the tests of their readers."""

from __future__ import annotations

import numpy as np
import torch

from im2hands.hands.model_files import builtin_hand_models, model_arrays

MODELS = builtin_hand_models()
TENSORS = ("template", "shape_directions", "pose_directions", "joint_regressor", "skinning_weights", "mean_pose")


def arrays_of(side, **changes):
    """The built-in hand as a file would hold it, with some arrays replaced (None: left out)."""
    arrays = {**model_arrays(MODELS[side]), **changes}
    return {name: array for name, array in arrays.items() if array is not None}


def assert_same_model(model, other):
    for name in TENSORS:
        assert torch.equal(getattr(model, name), getattr(other, name)), name
    assert np.array_equal(model.faces, other.faces)
