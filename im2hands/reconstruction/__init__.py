"""Keypoints and images to occupancy fields to meshes, batched over hands and frames."""
