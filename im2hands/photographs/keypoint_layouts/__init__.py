"""Keypoint layouts of datasets, detectors and headsets: one table, readers and writers."""
