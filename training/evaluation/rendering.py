"""Tables on a terminal, as Markdown and as HTML."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from markupsafe import Markup
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from training.evaluation.report import EvaluationReport
from training.evaluation.tables.all_tables import report_tables
from training.evaluation.tables.cells import Table

_WIDTH_OF_FILES = 160
"""Characters of a line where no terminal says how many fit."""

_INTERVAL = re.compile(r" \((.+)\)$")
_NUMBER = re.compile(r"[-+−\[]?\d|$|–$|null$|true$|false$")


def results_console() -> Console:
    """The standard output, wide where it is no terminal."""
    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH_OF_FILES
    return console


def print_tables(tables: Iterable[Table], console: Console) -> None:
    """Print tables; intervals stand below their figures, so that more columns fit."""
    for table in tables:
        shown = RichTable(
            title=Text(table.title, style="bold"),
            caption=Text(table.note) if table.note else None,
            title_justify="left",
            caption_justify="left",
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
        )
        words = columns_of_words(table)
        for number, heading in enumerate(table.columns):
            justify: Literal["left", "right"] = "right" if number not in words else "left"
            shown.add_column(Text(heading), justify=justify, overflow="fold")
        for first, *cells in table.rows:
            shown.add_row(Text(first), *(Text(_INTERVAL.sub("\n\\1", cell)) for cell in cells))
        console.print(shown)


def markdown(report: EvaluationReport) -> str:
    """Every table of an evaluation as Markdown, under one heading."""
    data = report.data
    head = (
        f"# Evaluation\n\n{data.prompts} prompts, {data.responses} responses, {data.pairs} pairs "
        f"({data.split} of {', '.join(_escaped(name) for name in data.files) or 'the data'}). "
        f"Intervals are 95 %, by resampling prompts (seed {report.seed}); at 0 and 100 % "
        "Wilson's of so many prompts."
    )
    return "\n\n".join([head, *(markdown_table(table) for table in report_tables(report))]) + "\n"


def markdown_table(table: Table, *, level: int = 2) -> str:
    """One table as Markdown, with its title as a heading and its note below."""
    words = columns_of_words(table)
    align = ["---" if number in words else "---:" for number in range(len(table.columns))]
    lines = [_line(table.columns), _line(align), *(_line(row) for row in table.rows)]
    parts = [f"{'#' * level} {_escaped(table.title)}", "\n".join(lines)]
    return "\n\n".join([*parts, _escaped(table.note)] if table.note else parts)


def html_table(table: Table) -> Markup:
    """One table as HTML, with its title as caption and its note below; all of its text escaped."""
    words = columns_of_words(table) - {0}
    heads = [
        Markup('<th scope="col"{}>{}</th>').format(
            Markup(' class="words"') if number in words else "", heading
        )
        for number, heading in enumerate(table.columns)
    ]
    rows = [
        Markup('<tr><th scope="row">{}</th>{}</tr>\n').format(
            row[0],
            Markup().join(
                Markup("<td{}>{}</td>").format(
                    Markup(' class="words" dir="auto"') if number in words else "", cell
                )
                for number, cell in enumerate(row[1:], start=1)
            ),
        )
        for row in table.rows
    ]
    return Markup(
        '<div class="table">\n<div class="scroll" role="region" tabindex="0" aria-label="{title}">'
        "\n<table>\n<caption>{title}</caption>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}"
        "</tbody>\n</table>\n</div>\n{note}</div>\n"
    ).format(
        title=table.title,
        heads=Markup().join(heads),
        rows=Markup().join(rows),
        note=Markup('<p class="note">{}</p>\n').format(table.note) if table.note else "",
    )


def columns_of_words(table: Table) -> frozenset[int]:
    """The first column, and those whose cells are not figures: all are set flush left."""
    return frozenset(
        at
        for at in range(len(table.columns))
        if not at or not all(_NUMBER.match(row[at]) for row in table.rows)
    )


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_escaped(cell) for cell in cells)} |"


def _escaped(text: str) -> str:
    """Text that a Markdown table shows as it is: sources and tags come from data files."""
    for special in ("\\", "|", "<", ">", "*", "_", "`", "[", "]"):
        text = text.replace(special, f"\\{special}")
    return " ".join(text.split())
