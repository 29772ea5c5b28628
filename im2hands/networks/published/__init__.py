"""Layouts of the published checkpoints: reading, reporting and writing them."""
