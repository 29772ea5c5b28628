"""Comparison with numbers of the original code."""
