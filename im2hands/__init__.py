"""im2hands: two interacting hands as occupancy fields, from photographs to meshes and tables."""

__version__ = "0.1.0"
