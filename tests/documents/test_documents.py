"""The documents fit the software: every command is known and run by something, every link leads somewhere."""

from __future__ import annotations

import re
import shlex

import pytest
import typer
import yaml

from im2hands.cli import app
from im2hands.config.options import Options
from tests.documents.commands import PAGES, REGISTER, ROOT, commands, register
from tests.documents.said import words_of_test

OTHERWISE = ("by hand", "needs ", ".ci/run")
RUN_AS_WRITTEN = {
    "test_snakemake_plans",
    "test_every_stage_explains_itself_alone",
    "test_the_pages_add_a_stage_and_a_network",
}
"""Tests that take their commands from the table itself, from the folder of stages, or from a page that they follow."""
SAME = {"-S": "--set-param", "-d": "--default", "-o": "--output"}
"""Two names of an option."""


def test_every_command_is_in_the_table_and_no_other():
    shown = {command for page in PAGES if page != REGISTER for command in commands(page)}
    assert shown == set(register())


@pytest.mark.parametrize(("command", "runner"), register().items())
def test_what_runs_a_command_says_its_words(command, runner):
    """The program's verb or module and every option are in the test that the table names, or in what that test calls."""
    file, _, name = runner.partition("::")
    if not name:
        assert runner.startswith(OTHERWISE)
        return
    assert f"def {name}(" in (ROOT / file).read_text()
    if name in RUN_AS_WRITTEN:
        return
    program, *words = shlex.split(command)
    wanted = [word.partition("=")[0] for word in words if word.startswith("-") and word != "--"]
    wanted += words[:1] if program in ("im2hands", "dvc") else []
    wanted += words[1:2] if words[0] == "-m" else []
    said = words_of_test(file, name)
    assert [word for word in wanted if not said & {word, SAME.get(word, word)}] == []


def test_a_test_that_runs_something_else_is_noticed():
    said = words_of_test("tests/config/test_presets.py", "test_mistakes_change_nothing")
    assert "configure" not in said
    assert "configure" in words_of_test("tests/config/test_presets.py", "test_presets_give_valid_parameters")


@pytest.mark.parametrize("command", [command for command in register() if command.startswith("im2hands ")])
def test_command_line_is_understood(command):
    """Names and options, without running anything."""
    _, name, *words = shlex.split(command)
    given = typer.main.get_command(app).commands[name]
    given.make_context(name, words)


def test_every_page_is_in_the_menu_once():
    text = (ROOT / "mkdocs.yml").read_text()
    listed = re.findall(r": ([\w-]+\.md)$", text, re.MULTILINE)
    assert yaml.safe_load(text)["docs_dir"] == "docs"
    assert sorted(listed) == sorted(page.name for page in (ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(file), f"{page.name}: {target}"


def anchors(page) -> set[str]:
    """As MkDocs and GitHub make them of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_every_named_option_is_in_the_table_of_conventions():
    page = (ROOT / "docs/conventions.md").read_text().partition("## Named behaviours")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == set(Options.model_fields)
