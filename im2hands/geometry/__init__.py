"""Cameras, rotations, inside tests, octree, iso-surfaces, surface sampling, mesh files."""
