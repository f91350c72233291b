"""What README and docs tell a reader to type exists: commands, flags, targets, settings."""

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

from rewardd.cli import app
from service.setting_sources import CONFIG_VARIABLE, PREFIX
from service.settings import Settings
from tests.architecture.source import PACKAGES, ROOT, documents, modules, tree

SHELL_BLOCK = re.compile(r"^```(?:bash|sh|shell|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CODE_SPAN = re.compile(r"`([^`\n]+)`")
ASSIGNMENT = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*=")
SEPARATORS = {"|", "||", "&&", ";", "&"}
SETTING = re.compile(rf"\b{PREFIX}[A-Z0-9_]+\b")


def shell_commands(text: str) -> Iterator[list[str]]:
    """The commands of a text's shell blocks as words, without assignments before them."""
    for block in SHELL_BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=";&|<>")
            lexer.whitespace_split = True
            try:
                words = list(lexer)
            except ValueError:  # a quote that closes on a later line: a body, not a command
                words = line.split()
            yield from _split(words)


def _split(words: list[str]) -> Iterator[list[str]]:
    command: list[str] = []
    for word in [*words, ";"]:
        if word not in SEPARATORS:
            command.append(word)
            continue
        while command and (ASSIGNMENT.match(command[0]) or command[0] in {"exec", "env"}):
            command.pop(0)
        if command:
            yield command
        command = []


def told_targets(text: str) -> set[str]:
    """Targets of `make TARGET` in blocks and in code spans."""
    commands = [*shell_commands(text), *(span.split() for span in CODE_SPAN.findall(text))]
    return {
        word
        for command in commands
        if command and command[0] == "make"
        for word in command[1:]
        if re.fullmatch(r"[a-z][a-z-]*", word)
    }


def told_rewardd(text: str) -> list[list[str]]:
    """Arguments of every `rewardd …` in blocks, and in code spans that begin with it."""
    spans = [span.split() for span in CODE_SPAN.findall(text) if span.startswith("rewardd ")]
    return [
        command[1:]
        for command in [*shell_commands(text), *spans]
        if command and Path(command[0]).name == "rewardd"
    ]


@cache
def make_targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    return set(re.findall(r"^\.PHONY: ([a-z-]+)$", makefile, re.MULTILINE))


@cache
def subcommands() -> dict[str, set[str]]:
    """The flags of every subcommand, as `--help` lists them."""
    group = typer.main.get_command(app)
    commands: dict[str, Any] = getattr(group, "commands")  # noqa: B009 - typer's own class
    return {
        name: {"--help"}
        | {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)}
        for name, command in commands.items()
    }


def unknown_words(arguments: list[str]) -> list[str]:
    """What of a `rewardd` command line does not exist."""
    name = next((word for word in arguments if not word.startswith("-")), None)
    if name is None:
        return []
    if name not in subcommands():
        return [name]
    flags = (word.partition("=")[0] for word in arguments if word.startswith("--"))
    return [flag for flag in flags if flag not in subcommands()[name]]


def test_a_misspelt_command_line_would_be_found() -> None:
    text = "```bash\nREWARDD_PORT=1 .venv/bin/rewardd serv --port 1 && rewardd serve --prot 2\n```"

    assert [unknown_words(arguments) for arguments in told_rewardd(text)] == [["serv"], ["--prot"]]
    assert told_targets("```bash\nmake demo PORT=1\n```\n`make tset`") == {"demo", "tset"}


@pytest.mark.parametrize("path", documents(), ids=str)
def test_every_rewardd_command_of_the_documents_exists(path: Path) -> None:
    text = (ROOT / path).read_text("utf-8")
    unknown = [(arguments, unknown_words(arguments)) for arguments in told_rewardd(text)]

    assert [found for found in unknown if found[1]] == []


@pytest.mark.parametrize("path", documents(), ids=str)
def test_every_make_target_of_the_documents_exists(path: Path) -> None:
    assert told_targets((ROOT / path).read_text("utf-8")) - make_targets() == set()


@pytest.mark.parametrize("path", documents(), ids=str)
def test_every_setting_of_the_documents_exists(path: Path) -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | {CONFIG_VARIABLE}
    told = set(SETTING.findall((ROOT / path).read_text("utf-8")))

    assert told - known - {f"{PREFIX}NAME"} == set()


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    described = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))

    assert described == make_targets()


TREES = (
    "rm_core",
    "service",
    "training",
    "rewardd",
    "rm_client",
    "loadtest",
    "tests",
    "docs",
    "examples",
)
PATH = re.compile(rf"(?<![\w./-])((?:{'|'.join(TREES)})/[\w./*-]*[\w/*])")
NOT_PATHS = {"rewardd/failed"}  # a metric's name in TRL's log
LINK = re.compile(r"\]\(([^)\s]+)\)")


def docstrings(path: Path) -> str:
    """Everything that a module says of itself."""
    told = [
        ast.get_docstring(node) or ""
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return "\n".join(told)


def missing_paths(text: str) -> list[str]:
    """Paths that a text names and that exist neither from the root nor from tests/."""
    return [
        path
        for path in PATH.findall(text)
        if path not in NOT_PATHS
        and not any(any(base.glob(path.rstrip("/"))) for base in (ROOT, ROOT / "tests"))
    ]


def dead_links(page: Path) -> list[str]:
    """Links of a page that lead to no file beside it."""
    links = LINK.findall((ROOT / page).read_text("utf-8"))
    return [
        link
        for link in links
        if "://" not in link
        and not link.startswith("#")
        and not (ROOT / page.parent / link.partition("#")[0]).exists()
    ]


def test_a_path_that_does_not_exist_would_be_found() -> None:
    assert missing_paths("`tests/nobody/test_it.py`, rm_core/no.py: see docs/glossary.md.") == [
        "tests/nobody/test_it.py",
        "rm_core/no.py",
    ]


@pytest.mark.parametrize("path", documents(), ids=str)
def test_every_path_of_the_documents_exists(path: Path) -> None:
    assert missing_paths((ROOT / path).read_text("utf-8")) == []
    assert dead_links(path) == []


@pytest.mark.parametrize("package", [*PACKAGES, "tests"])
def test_every_path_of_the_docstrings_exists(package: str) -> None:
    missing = {str(path): missing_paths(docstrings(path)) for path in modules(package)}

    assert {path: found for path, found in missing.items() if found} == {}
