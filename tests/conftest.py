"""Settings of all tests."""

from hypothesis import settings

settings.register_profile("im2hands", deadline=None, derandomize=True)
settings.load_profile("im2hands")
