"""Stages and Snakemake as forks of one process that has imported everything: a run of the graph without its start-up times.

`WarmProcess` holds that process and a stand-in `python` that hands `-m stages.NAME ...`, `-m snakemake ...` and
`-m workflow.ablations ...` to it; all else goes to the real interpreter. The stages are the real ones, each in a process of its
own. The library is imported from this project, of which a checkout is a copy.

    python -m tests.workflow.warm SOCKET PYTHON    the process itself; PYTHON: the stand-in
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.workflow.checkout import ROOT, Checkout

HANDED_OVER = ("stages.", "snakemake", "workflow.ablations")
STAND_IN = """#!{python} -IS
import json, os, socket, sys
words = sys.argv[1:]
if words[:1] != ["-m"] or not words[1].startswith({handed_over}):
    os.execv({python!r}, [{python!r}, *words])
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect({socket!r})
    request = json.dumps({{"words": words[1:], "folder": os.getcwd(), "environment": dict(os.environ)}}).encode()
    socket.send_fds(connection, [len(request).to_bytes(8, "big")], [0, 1, 2])
    connection.sendall(request)
    code = connection.recv(1)
sys.exit(code[0] if code else 137)
"""


class WarmProcess:
    """The process, from `__enter__` to `__exit__`."""

    def __enter__(self) -> WarmProcess:
        self._folder = tempfile.TemporaryDirectory(prefix="warm")  # pytest's have names that are too long for a socket
        self.python, self._socket = Path(self._folder.name, "python"), Path(self._folder.name, "socket")
        values = {"python": sys.executable, "socket": str(self._socket), "handed_over": HANDED_OVER}
        self.python.write_text(STAND_IN.format(**values))
        self.python.chmod(0o755)
        command = [sys.executable, "-m", "tests.workflow.warm", str(self._socket), str(self.python)]
        self._process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
        while not self._socket.exists():
            assert self._process.poll() is None, "the process ended while it imported the stages"
            time.sleep(0.05)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait()
        self._folder.cleanup()


@dataclass(frozen=True)
class WarmCheckout(Checkout):
    """A checkout whose Snakemake and stages are forks of a warm process."""

    warm: WarmProcess

    def snakemake(self, *arguments: str, check: bool = True, **environment: str) -> str:
        return self.run(str(self.warm.python), "-m", "snakemake", *arguments, check=check, **environment).stdout


def main(path: str, python: str) -> None:
    names = sorted(f"stages.{file.stem}" for file in (ROOT / "stages").glob("[!_]*.py"))
    for name in [*names, "snakemake.cli"]:
        importlib.import_module(name)
    for name in names:
        del sys.modules[name]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    waiting = f"{path}.part"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(waiting)
        server.listen(64)
        os.rename(waiting, path)
        while True:
            connection, _ = server.accept()
            if os.fork() == 0:
                server.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                serve(connection, python)
            connection.close()


def serve(connection: socket.socket, python: str) -> None:
    """Runs one command in this process and ends it."""
    head, files, _, _ = socket.recv_fds(connection, 8, 3)
    size, content = int.from_bytes(head, "big"), b""
    while len(content) < size:
        content += connection.recv(size - len(content))
    request = json.loads(content)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    module, *arguments = request["words"]
    sys.path.insert(0, request["folder"])
    sys.executable = python
    code = run(module, arguments)
    connection.sendall(bytes([code & 255]))
    os._exit(code & 255)


def run(module: str, arguments: list[str]) -> int:
    sys.argv = [module, *arguments]
    code: object = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    if not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    main(*sys.argv[1:])
