"""Finds both hands in a picture: two networks of Google, and around them anchors, crops and choices made for two hands."""
