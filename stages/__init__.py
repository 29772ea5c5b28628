"""One thin module per rule: read inputs and parameters, call the library, write outputs completely or not at all.

Ctrl-C ends a stage with one line, even during imports, because Snakemake shows the log of a failed job.
"""

import sys
from types import TracebackType


def say(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Replaces Python's report of an uncaught exception."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted; run the same command again to continue from complete files.", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = say
