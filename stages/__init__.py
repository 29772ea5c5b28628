"""One thin module per rule of the DAG: read inputs and parameters, call the library, write outputs whole or not at all.

Ctrl-C ends a stage, also while it is still importing, in one line: its log is what Snakemake shows of a job that has failed.
"""

import sys
from types import TracebackType


def say(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """In place of Python's own report of an uncaught exception."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted; the same command goes on from what is complete.", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = say
