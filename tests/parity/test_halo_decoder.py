"""The bone decoders against the numbers of the reference decoders."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from im2hands.parity.cases.halo_decoder import CASE, decoders_of, hand_inputs
from tests.naive.bone_decoders import naive_bone_logits
from tests.reference import FOLDER


@pytest.fixture
def golden():
    return FOLDER.find(CASE.name)


@pytest.mark.parametrize("tag", ["halo", "im2hands"])
def test_naive_form_agrees_too(golden, tag):
    """The form that the fast one is compared with passes the golden numbers itself."""
    points, frames, lengths, features = hand_inputs(golden, tag)
    logits = naive_bone_logits(decoders_of(golden, tag), points, frames, lengths, features)
    np.testing.assert_allclose(logits.numpy(), golden[f"{tag}_bone_logits"], atol=1e-5)


def test_scaling_the_translations_is_noticed(golden):
    """Frames in metres instead of palm units give other numbers, so the units are part of what is compared."""
    points, frames, lengths, _ = hand_inputs(golden, "halo")
    metres = frames.clone()
    metres[:, :, :3, 3] *= 0.4
    logits = decoders_of(golden, "halo")(points, metres, lengths)
    assert not torch.allclose(logits, torch.from_numpy(golden["halo_bone_logits"]), atol=1e-2)
