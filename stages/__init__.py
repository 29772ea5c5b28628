"""One thin module per rule: read inputs and parameters, call the library, write outputs completely or not at all.

Ctrl-C ends a stage with one line, because Snakemake shows the log of a failed job. During imports it ends the process at once:
there is nothing to clean up yet, and compiled packages answer an interrupted import with a report of their own.
"""

import os
import signal
import sys
from types import FrameType, TracebackType

INTERRUPTED = "interrupted; run the same command again to continue from complete files."


def say(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Replaces Python's report of an uncaught exception."""
    if issubclass(kind, KeyboardInterrupt):
        print(INTERRUPTED, file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def end_at_once(number: int, frame: FrameType | None) -> None:
    """Answers Ctrl-C until `io.stage.stage_main` begins."""
    print(INTERRUPTED, file=sys.stderr, flush=True)
    os._exit(128 + number)


end_at_once.during_imports = True
sys.excepthook = say
if sys.argv[0] == "-m" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # python -m stages.NAME
    signal.signal(signal.SIGINT, end_at_once)
