"""Tables in Markdown, JSON files, and the plot of `serve`."""

import json
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import typer

from loadtest.percentiles import distribution, summary
from loadtest.results import RunResult


def environment() -> dict[str, str]:
    """What a reader must know of the machine, to compare figures only where they may be."""
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "python": platform.python_version(),
        "commit": _commit(),
        "time": datetime.now().astimezone().isoformat(timespec="minutes"),
        "command": " ".join(["python -m loadtest", *sys.argv[1:]]),
    }


def _commit() -> str:
    """Of this checkout, with a plus where it was changed since; "" outside of one."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        found = [
            subprocess.run(  # noqa: S603 - git of the path, constant arguments
                [*git, *words], capture_output=True, text=True, check=True, timeout=30
            ).stdout.strip()
            for words in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "-uno"])
        ]
    except (OSError, subprocess.SubprocessError):
        return ""
    return found[0] + ("+" if found[1] else "")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} × {names[0]}" if names else platform.processor()


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, the first column left-aligned."""
    lines = ["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def facts_line(facts: Mapping[str, Any]) -> str:
    """What else a table's reader should know, on one line below it."""
    return "; ".join(f"{name}: {value}" for name, value in facts.items())


def runs_table(results: Sequence[RunResult]) -> str:
    """The table of `serve`: one line a scenario, and what is wrong with a run below it."""
    header = [
        *("scenario", "requests", "ok", "refused", "failed", "texts/s", "makespan s"),
        *("p50 ms", "p90", "p95", "p99", "max", "late p99", "max error"),
    ]
    rows: list[Sequence[str]] = []
    for result in results:
        rows.append(_run_row(result, result.name, result.latencies_ms))
        if result.group_latencies_ms:
            name = f"{result.name}, last of group"
            rows.append(_run_row(result, name, result.group_latencies_ms))
    notes = [f"**VOID: {r.name}: {r.void}**" for r in results if r.void]
    notes += [f"**{r.name}: {r.remembered}**" for r in results if r.remembered]
    notes += [
        f"**{r.name}: {count} × {reason}**" for r in results for reason, count in r.reasons.items()
    ]
    return "\n\n".join([markdown_table(header, rows), *notes])


def _run_row(result: RunResult, name: str, latencies: Sequence[float]) -> list[str]:
    values = summary(latencies)
    return [
        f"{name} (VOID)" if result.void else name,
        str(result.offered),
        *(str(result.outcomes[outcome]) for outcome in ("ok", "refused", "failed")),
        f"{result.texts_per_second:.1f}",
        f"{result.makespan_seconds:.2f}",
        *(number(values.get(key)) for key in ("p50", "p90", "p95", "p99", "max")),
        f"{result.lateness_p99_ms:.2f}",
        "unchecked" if result.max_error is None else f"{result.max_error:.1e}",
    ]


def number(value: float | None) -> str:
    """One decimal, or a dash where the samples don't resolve it."""
    return "–" if value is None else f"{value:.1f}"


def say(line: str) -> None:
    """Tell on standard error what is going on."""
    typer.echo(line, err=True)


def deliver(
    text: str, found: Mapping[str, Any], json_out: Path | None, markdown_out: Path | None
) -> None:
    """Print what a command found, and write both files where they are named."""
    typer.echo(text)
    if markdown_out is not None:
        write_text(markdown_out, text)
    if json_out is not None:
        write_json(json_out, found)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file, and its directory where missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")


def write_text(path: Path, text: str) -> None:
    """Write a text file, and its directory where missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", "utf-8")


def plot_latencies(path: Path, results: Sequence[RunResult], *, title: str) -> None:
    """Latency by percentile, the axis stretched towards 100 % as HdrHistogram plots it."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5))
    for result in results:
        rows = [row for row in distribution(result.latencies_ms) if row.percentile < 100]
        if rows:
            label = f"{result.name} (VOID)" if result.void else result.name
            stretched = [100 / (100 - row.percentile) for row in rows]
            axes.plot(stretched, [row.value_ms for row in rows], label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    ticks = (50, 75, 90, 95, 99, 99.9)
    axes.set_xticks([100 / (100 - tick) for tick in ticks], [f"{tick:g} %" for tick in ticks])
    axes.minorticks_off()
    axes.grid(visible=True, alpha=0.3)
    axes.set_xlabel("percentile of requests")
    axes.set_ylabel("latency from the intended send time, ms")
    axes.set_title(title)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, bbox_inches="tight")
    plt.close(figure)
