"""Adapters that turn keypoint files and detectors into metric keypoints of both hands."""
