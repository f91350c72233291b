"""A report's tables on a terminal and as Markdown."""

import re
from collections.abc import Sequence
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from training.evaluation.report import EvaluationReport
from training.evaluation.table_cells import Table
from training.evaluation.tables import tables

WIDTH_OF_FILES = 160
"""Characters of a line where no terminal says how many fit."""

_INTERVAL = re.compile(r" \((.+)\)$")


def print_report(report: EvaluationReport, console: Console) -> None:
    """Print every table; intervals stand below their figures, so that more columns fit.

    Args:
        report: the figures.
        console: where to.
    """
    for table in tables(report):
        shown = RichTable(
            title=Text(table.title, style="bold"),
            caption=Text(table.note) if table.note else None,
            title_justify="left",
            caption_justify="left",
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
        )
        for number, heading in enumerate(table.columns):
            justify: Literal["left", "right"] = "right" if number else "left"
            shown.add_column(Text(heading), justify=justify, overflow="fold")
        for first, *cells in table.rows:
            shown.add_row(Text(first), *(Text(_INTERVAL.sub("\n\\1", cell)) for cell in cells))
        console.print(shown)


def markdown(report: EvaluationReport) -> str:
    """Every table as Markdown, under one heading."""
    data = report.data
    head = (
        f"# Evaluation\n\n{data.prompts} prompts, {data.responses} responses, {data.pairs} pairs "
        f"({data.split} of {', '.join(_escaped(name) for name in data.files) or 'the data'}). "
        f"Intervals are 95 %, by resampling prompts (seed {report.seed})."
    )
    return "\n\n".join([head, *(markdown_table(table) for table in tables(report))]) + "\n"


def markdown_table(table: Table) -> str:
    """One table with its title and note."""
    align = ["---", *["---:"] * (len(table.columns) - 1)]
    lines = [_line(table.columns), _line(align), *(_line(row) for row in table.rows)]
    parts = [f"## {_escaped(table.title)}", "\n".join(lines)]
    return "\n\n".join([*parts, _escaped(table.note)] if table.note else parts)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_escaped(cell) for cell in cells)} |"


def _escaped(text: str) -> str:
    """Text that a Markdown table shows as it is: sources and tags come from data files."""
    for special in ("\\", "|", "<", ">", "*", "_", "`", "[", "]"):
        text = text.replace(special, f"\\{special}")
    return " ".join(text.split())
