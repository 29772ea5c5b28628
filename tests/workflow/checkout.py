"""Copies of the project in temporary folders, with the real stages or with stand-ins (fake_stage.py)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from workflow.parameters import READS

ROOT = Path(__file__).parents[2]
PARTS = (
    *("Snakefile", "params.yaml", "dvc.yaml", ".gitignore", ".dvcignore"),
    *("im2hands", "stages", "workflow", "presets", "profiles"),
)


@dataclass(frozen=True)
class Checkout:
    """A copy of the project in which commands are run."""

    path: Path

    def run(self, *command: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs `command` (python modules by `-m` name) and returns its output; stdout and stderr together."""
        site = {
            "DVC_SITE_CACHE_DIR": str(self.path / ".dvc/tmp/site"),
            "DVC_NO_ANALYTICS": "1",
            "PYTHONUNBUFFERED": "1",
        }
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            command,
            cwd=self.path,
            env={**os.environ, "PATH": path, **site, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-6000:]}"
        return done

    def snakemake(self, *arguments: str, check: bool = True, **environment: str) -> str:
        return self.run(sys.executable, "-m", "snakemake", *arguments, check=check, **environment).stdout

    def plan(self, *arguments: str) -> dict[str, int]:
        """Rule -> number of jobs of a dry run; empty if there is nothing to do."""
        return self.plan_and_causes(*arguments)[0]

    def plan_and_causes(self, *arguments: str) -> tuple[dict[str, int], set[str]]:
        """The plan, and the rules that would run because of themselves, not because an earlier rule is repeated."""
        output = self.snakemake("--dry-run", "--quiet", "rules", *arguments)
        table = re.search(r"^job +count\n-+ +-+\n(.*?)^total", output, re.MULTILINE | re.DOTALL)
        if table is None:
            assert "Nothing to be done" in output, output
            return {}, set()
        jobs = dict(line.split() for line in table.group(1).splitlines())
        reasons = output.partition("\nReasons:")[2]
        own = re.findall(r"^ {4}(?!input files updated)([^\n:]+):\n {8}([^\n]+)", reasons, re.MULTILINE)
        causes = {rule for _, rules in own for rule in rules.split(", ")}
        return {rule: int(count) for rule, count in jobs.items() if rule != "all"}, causes - {"all"}

    def dvc(self, *arguments: str, check: bool = True) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments, check=check).stdout

    def git_init(self) -> None:
        for arguments in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "start"]):
            self.run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments)

    def commit_results(self) -> None:
        self.run("git", "add", "dvc.lock", "params.yaml")
        self.run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "results")

    def change(self, key: str, value: object) -> None:
        """Sets `a.b.c` of params.yaml."""
        file = self.path / "params.yaml"
        content = yaml.safe_load(file.read_text())
        *sections, last = key.split(".")
        place = content
        for section in sections:
            place = place[section]
        assert last in place, key
        place[last] = value
        file.write_text(yaml.safe_dump(content, sort_keys=False))

    def copy(self, path: Path) -> Checkout:
        """The same files with the same time stamps somewhere else."""
        shutil.copytree(self.path, path, symlinks=True)
        return Checkout(path)


def make_checkout(path: Path, fake_stages: bool) -> Checkout:
    path.mkdir(parents=True)
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, path / part)  # with __pycache__, so that Numba compiles nothing again
        else:
            shutil.copy2(ROOT / part, path / part)
    (path / ".dvc").mkdir()
    for name in ("config", ".gitignore"):
        shutil.copy2(ROOT / ".dvc" / name, path / ".dvc" / name)
    checkout = Checkout(path)
    if fake_stages:
        for stage in [*READS, "gather_shards", "use_given_weights"]:
            shutil.copy2(Path(__file__).parent / "fake_stage.py", path / "stages" / f"{stage}.py")
        checkout.run(sys.executable, "-m", "workflow.dvc_stages")
    checkout.git_init()
    return checkout
