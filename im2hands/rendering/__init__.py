"""Z-buffer rasteriser, shading, overlays."""
