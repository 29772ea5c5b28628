"""Runs commands without a Python start for each: the packages are imported once, and every command is a fork of this process.

A request on standard input is a line of JSON: module (`im2hands` or `stages.NAME`), words, folder. The answer is one too:
code, out, err, seconds. A command that takes more than its share of memory or time ends with a code that no error has.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import runpy
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

MEMORY, CPU_SECONDS, WALL_SECONDS = 2 << 30, 10, 120
"""What a command may take beyond what is imported."""
PRELOADED = (
    "cv2",
    "ruamel.yaml",
    "safetensors.torch",
    "torch",
    "trimesh",
    "im2hands.cli",
    "im2hands.config.presets",
    "im2hands.datasets.check",
    "im2hands.datasets.preprocessed",
    "im2hands.networks.published.importing",
    "im2hands.photographs.command",
    "im2hands.parity.runner",
    "im2hands.report.view_page",
    "stages.gather_shards",
    "stages.import_keypoints",
    "stages.index_frames",
    "stages.use_given_weights",
)


def main() -> None:
    for name in PRELOADED:
        importlib.import_module(name)
    imported = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line), imported)), flush=True)


def _answer(request: dict, imported: int) -> dict:
    begun = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            _become(request, imported, out.fileno(), err.fileno())
        signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
        signal.alarm(WALL_SECONDS)
        _, status, used = os.wait4(child, 0)
        signal.alarm(0)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    code = os.waitstatus_to_exitcode(status)
    return {
        "code": code,
        "out": texts[0],
        "err": texts[1],
        "seconds": time.monotonic() - begun,
        "cpu": used.ru_utime + used.ru_stime,
    }


def _become(request: dict, imported: int, out: int, err: int) -> None:
    """Runs the command as its console script would, and never returns."""
    code = 70
    try:
        for number, file in ((1, out), (2, err)):
            os.dup2(file, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout, sys.stderr = (os.fdopen(os.dup(number), "w") for number in (1, 2))
        resource.setrlimit(resource.RLIMIT_AS, (imported + MEMORY,) * 2)
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS,) * 2)
        os.chdir(request["folder"])
        sys.argv = [request["module"], *request["words"]]
        code = _run(request["module"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(module: str) -> int:
    try:
        if module == "im2hands":
            importlib.import_module("im2hands.cli").main()
        else:
            sys.modules.pop(module, None)
            runpy.run_module(module, run_name="__main__", alter_sys=False)
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
            return 1
        return int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    main()
