"""Names of blocks shared by several networks, in published state dicts and in ours.

A table is a list of regular expressions and replacements, applied one after another from the published name to ours. The way
back needs no second table: a network's key list (`layout.PublishedLayout`) says which published names there are.
"""

from __future__ import annotations

import re

Renames = tuple[tuple[str, str], ...]

IMAGE_ENCODER: Renames = (
    (r"\bhms_decoder\.", r"heat_map_decoder."),
    (r"\bdp_decoder\.", r"dense_map_decoder."),
    (r"\.models\.0\.", r".stages.0."),
    (r"\.models\.(\d)\.1\.", r".stages.\1.0."),
    (r"\.models\.(\d)\.3\.", r".stages.\1.2."),
    (r"_decoder\.final_layer\.", r"_decoder.last."),
)
"""ImageEncoder; the backbone keeps torchvision's names."""

SELF_ATTENTION: Renames = (
    (r"\.ff\.layer_norm\.", r".feed_forward.norm."),
    (r"\.ff\.fc1\.", r".feed_forward.expand."),
    (r"\.ff\.fc2\.", r".feed_forward.contract."),
    (r"\.layer_norm\.", r".norm."),
    (r"\.w_qs\.", r".query."),
    (r"\.w_ks\.", r".key."),
    (r"\.w_vs\.", r".value."),
    (r"\.fc\.", r".output."),
)
"""SelfAttention."""

IMAGE_ATTENTION: Renames = (
    (r"\.encoder\.position_embeddings\.", r".tokens.positions."),
    (r"\.encoder\.proj\.", r".tokens.patches."),
    (r"\.encoder\.self_attn\.", r".tokens.attention."),
    (r"\.attn\.fc\.", r".to_query."),
    (r"\.attn\.Attn\.", r".attention."),
    *SELF_ATTENTION,
)
"""QueryImageAttention."""

GRAPH_BLOCKS: Renames = (
    (r"\bGCN_blocks\.", r"blocks."),
    (r"\.norm1\.", r".unused_norm."),
    (r"\.norm2\.", r".first_norm."),
    (r"\.norm3\.", r".norm."),
    (r"\.fc1\.", r".first."),
    (r"\.fc2\.", r".second."),
)
"""GraphLayer."""


OF_ENCODER, ENCODER_OF_INTAGHAND = "image_encoder.", "encoder."
"""Beginning of the image encoder's keys in Im2Hands' files and in IntagHand's, from which Im2Hands starts."""


def same_or_intaghands(key: str) -> tuple[str, ...]:
    """Keys of a file that may fill a published key: the same, or IntagHand's for the image encoder."""
    if key.startswith(OF_ENCODER):
        return key, ENCODER_OF_INTAGHAND + key.removeprefix(OF_ENCODER)
    return (key,)


def renamed(name: str, table: Renames) -> str:
    """A name after all replacements of a table."""
    for pattern, replacement in table:
        name = re.sub(pattern, replacement, name)
    return name
