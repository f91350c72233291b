"""The hook of mkdocs that writes the reference from the code: command, settings and packages."""

import re
from pathlib import Path, PurePosixPath
from typing import Any

import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from typer.testing import CliRunner

from rewardd.cli import app
from service.setting_sources import PREFIX
from service.settings import Settings

ROOT = Path(__file__).parents[1]
PACKAGES = ("rm_client", "rm_core", "service", "training", "rewardd")
LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)#]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the reference's pages, which exist in memory alone."""
    pages = {"command": command(), "settings": settings()}
    for package in PACKAGES:
        pages[package] = f"# {package}\n\n::: {package}\n    options: {{heading_level: 2}}\n"
    for name, text in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Name files of the repository that are no pages, instead of linking them."""
    here = PurePosixPath("docs") / PurePosixPath(page.file.src_uri).parent

    def name(link: re.Match[str]) -> str:
        target = (ROOT / here / link[2]).resolve()
        if target.is_relative_to(ROOT / "docs") or not target.exists():
            return link[0]
        return f"{link[1]} (`{target.relative_to(ROOT)}`)"

    return LINK.sub(name, markdown)


def command() -> str:
    """`rewardd --help` and that of every subcommand."""
    group: Any = typer.main.get_command(app)
    parts = ["# The command", _help(), *(f"## {name}\n\n{_help(name)}" for name in group.commands)]
    return "\n\n".join(parts)


def _help(*arguments: str) -> str:
    shown = CliRunner().invoke(
        app, [*arguments, "--help"], color=False, env={"COLUMNS": "110", "TERM": "dumb"}
    )
    lines = [line.rstrip() for line in shown.output.strip().splitlines()]
    return "```text\n" + "\n".join(lines) + "\n```"


def settings() -> str:
    """Every setting of the server: variable, default and meaning."""
    rows = ["| variable | default | what it does |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        told = " ".join((field.description or "").split()).replace("|", "\\|")
        default = str(field.get_default(call_default_factory=True)).replace("|", "\\|")
        rows.append(f"| `{PREFIX}{name.upper()}` | `{default}` | {told} |")
    return "# The server's settings\n\n" + "\n".join(rows) + "\n"
