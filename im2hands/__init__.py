"""im2hands: two interacting hands as occupancy fields, from photographs to meshes and tables."""

__version__ = "0.1.0"
__all__ = ["Reconstructor", "TwoHands", "__version__"]


def __getattr__(name: str) -> object:
    """`Reconstructor` and `TwoHands`, loaded with their heavy packages when they are requested."""
    if name not in ("Reconstructor", "TwoHands"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("im2hands.photographs.reconstructor"), name)
