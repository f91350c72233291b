"""Writes an ablation down: a table to read, a table for machines, a picture."""

import json
from pathlib import Path
from typing import Any

from rich.table import Table

from rm_core.checkpoint.atomic import written_whole
from training.ablation.figures import ALL, AblationTable, Figure
from training.config import TrainingConfig

METHOD = (
    "Accuracy in per cent on held-out pairs, equal rewards counting half, averaged over seeds; in "
    "brackets 95 % intervals that resample prompts and seeds. The difference is to the first row, "
    "over all pairs, on the same prompts and seeds. Seconds are of one training."
)

JSON_NAME, MARKDOWN_NAME, PLOT_NAME = "ablation.json", "ablation.md", "ablation.png"


def write_report(table: AblationTable, config: TrainingConfig, output: Path) -> Path:
    """Write `ablation.json`, `ablation.md` and `ablation.png`, all or none.

    Args:
        table: what was found.
        config: what all trainings had in common.
        output: the ablation's directory.

    Returns:
        The directory of the three files.

    Raises:
        NotSaved: the disk is full or failed.
    """
    place = output / "report"
    with written_whole(place, advice="make room and start the ablation again") as directory:
        values = {"method": METHOD, "configuration": config.to_json(), **table.to_json()}
        (directory / JSON_NAME).write_text(
            json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
            encoding="utf-8",
        )
        (directory / MARKDOWN_NAME).write_text(markdown_of(table), encoding="utf-8")
        plot(table, directory / PLOT_NAME)
    return place


def markdown_of(table: AblationTable) -> str:
    """The table in Markdown, with how to read it."""
    headings = [
        "",
        *(f"{_words(name)} ({table.pairs[name]})" for name in table.pairs),
        "difference",
        "seconds",
    ]
    size = f"{table.prompts} held-out prompts, {table.pairs[ALL]} pairs, {table.seeds} seeds."
    lines = [
        f"{size} {METHOD}",
        "",
        "| " + " | ".join(headings) + " |",
        "|---|" + "---:|" * (len(headings) - 1),
    ]
    lines += ["| " + " | ".join(cells) + " |" for cells in _cells(table)]
    lines += ["", *(f"Left out: {reason}." for reason in table.left_out)]
    return "\n".join(lines).rstrip("\n") + "\n"


def rich_table(table: AblationTable) -> Table:
    """The table for a terminal."""
    shown = Table(
        title=f"{table.prompts} held-out prompts, {table.seeds} seeds", title_justify="left"
    )
    shown.add_column("")
    for name, pairs in table.pairs.items():
        shown.add_column(f"{_words(name)}\n{pairs} pairs", justify="right")
    shown.add_column("difference\nto the first", justify="right")
    shown.add_column("seconds", justify="right")
    for cells in _cells(table):
        shown.add_row(*cells)
    return shown


def plot(table: AblationTable, path: Path) -> None:
    """Accuracies with their intervals, one panel a column, rows from top to bottom.

    Args:
        table: what was found.
        path: PNG file to write.
    """
    from matplotlib.figure import Figure as Picture

    labels = [row.label for row in table.rows]
    places = list(range(len(labels)))[::-1]  # the first row on top
    picture = Picture(
        figsize=(2.2 + 2.2 * len(table.pairs), 1.4 + 0.45 * len(labels)), layout="constrained"
    )
    panels = picture.subplots(1, len(table.pairs), sharey=True, squeeze=False)[0]
    for panel, (name, pairs) in zip(panels, table.pairs.items(), strict=True):
        found = [row.accuracy[name] for row in table.rows]
        panel.errorbar(
            [100 * each.value for each in found],
            places,
            xerr=_error_bars(found),
            fmt="o",
            color="#2f5d8a",
            ecolor="#8fb0d0",
            capsize=3,
        )
        panel.axvline(100 * found[0].value, color="#b5b5b5", linewidth=0.8, linestyle=":")
        panel.set_title(f"{_words(name)}\n{pairs} pairs", fontsize=9)
        panel.set_xlabel("accuracy, %", fontsize=8)
        panel.tick_params(labelsize=8)
        panel.grid(axis="x", color="#eeeeee")
        panel.set_axisbelow(True)
    panels[0].set_yticks(places, labels)
    panels[0].set_ylim(-0.6, len(labels) - 0.4)
    picture.savefig(path, dpi=150)


def _error_bars(found: list[Figure]) -> Any:
    """Distances to both ends in per cent, (2, rows); a value outside its interval has none."""
    low = [100 * max(0.0, each.value - each.interval.low) for each in found]
    high = [100 * max(0.0, each.interval.high - each.value) for each in found]
    return [low, high]


def _cells(table: AblationTable) -> list[list[str]]:
    rows = []
    for row in table.rows:
        difference = f"{_shown(row.difference[ALL], sign=True)}" if row.difference else "–"
        accuracies = [_shown(row.accuracy[name]) for name in table.pairs]
        rows.append([row.label, *accuracies, difference, f"{row.seconds / table.seeds:.0f}"])
    return rows


def _shown(figure: Figure, *, sign: bool = False) -> str:
    numbers = [100 * each for each in (figure.value, figure.interval.low, figure.interval.high)]
    if sign:
        value, low, high = (f"{number:+.1f}" for number in numbers)
        return f"{value} ({low} to {high})"
    value, low, high = (f"{number:.1f}" for number in numbers)
    return f"{value} ({low}–{high})"


def _words(name: str) -> str:
    return name.replace("_", " ")
