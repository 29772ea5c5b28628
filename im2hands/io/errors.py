"""Errors whose message is one sentence for the user: which file, what is wrong, what to do."""

from __future__ import annotations


class Im2HandsError(Exception):
    """Base of every error that a user can correct; the command line prints its message without a stack trace."""


class DataError(Im2HandsError):
    """An input is wrong: layout, unit, shape or value."""


class DamagedFileError(DataError):
    """A file is truncated, corrupted or was not written by this software."""


class ConfigError(Im2HandsError):
    """A parameter is unknown, missing or contradicts another."""


class CheckpointError(Im2HandsError):
    """A weight file is unreadable, refused as unsafe, or does not fit the network."""


class DiskFullError(Im2HandsError):
    """There is no room to write a file."""


class NotWritableError(Im2HandsError):
    """A place where a result should go is read-only, a file instead of a folder, or may not be written."""


class Im2HandsWarning(UserWarning):
    """Something that a user should know about a file which is used all the same."""
