"""What the trainers' runs come to: ratios of time and accuracies, with intervals."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from loadtest.bench.training.settings import TRAINERS
from loadtest.errors import LoadTestError
from loadtest.report import environment, facts_line, markdown_table

RESAMPLES = 2_000
COMPARED_WITH = ("trl", "trl-grouped", "padded")
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % interval; where one value is all there is, the ends are NaN."""

    value: float
    low: float
    high: float

    def show(self, spec: str) -> str:
        """As text, without ends where there are none."""
        if math.isnan(self.low):
            return format(self.value, spec)
        return f"{format(self.value, spec)} ({format(self.low, spec)} to {format(self.high, spec)})"


@dataclass(frozen=True, slots=True)
class Run:
    """One training and how its checkpoint orders the held-out pairs.

    Seconds are those of the training loop and of its median update, tokens those of all texts and
    those that the model ran over, `peak_bytes` the process's until the loop's end; `right` is 1 for
    every held-out pair that is ordered right, ½ for equal rewards.
    """

    workload: str
    trainer: str
    seed: int
    seconds: float
    update_seconds: float
    updates: int
    sequence_tokens: int
    computed_tokens: int
    peak_bytes: int
    right: tuple[float, ...]
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, int]:
        """Of a run there is one of each."""
        return (self.workload, self.trainer, self.seed)


@dataclass(slots=True)
class Comparison:
    """All runs of one setting on one machine.

    Attributes:
        settings: of the base, the recipe and the data; equal for all runs.
        left_out: trainers that did not run, and why.
        environment: of the machine.
        workloads: facts of each, and `pair_prompts`, the index of each held-out pair's prompt.
        runs: so far.
    """

    settings: Mapping[str, Any]
    left_out: dict[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=environment)
    workloads: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)

    def go_on_from(self, path: Path) -> None:
        """Take in the runs of a file that was written before.

        Raises:
            LoadTestError: the file is none, of other settings, or of another machine.
        """
        try:
            found = json.loads(path.read_text("utf-8"))
            runs = [Run(**{**run, "right": tuple(run["right"])}) for run in found["runs"]]
            before = [found[name] for name in ("settings", "environment", "workloads", "left_out")]
            settings, machine, workloads, left_out = before
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise LoadTestError(
                f"{path} is no result of `train` ({type(exc).__name__}); name another file"
            ) from exc
        for what, theirs, ours in (
            ("settings", settings, self.settings),
            ("machine", machine["processor"], self.environment["processor"]),
        ):
            if theirs != ours:
                raise LoadTestError(f"runs with other {what} can't stand in one table")
        self.environment, self.workloads, self.left_out = (
            machine,
            workloads,
            left_out | self.left_out,
        )
        for run in runs:
            self.take_run(run)

    def take_workload(self, name: str, facts: dict[str, Any]) -> None:
        """Keep a workload's facts.

        Raises:
            LoadTestError: earlier runs had other data.
        """
        if self.workloads.setdefault(name, facts) != facts:
            raise LoadTestError(f"{name}: the data has changed since; start a new file")

    def take_run(self, run: Run) -> None:
        """Keep a run; one that stands already is replaced."""
        self.runs = [kept for kept in self.runs if kept.key != run.key] + [run]
        self.left_out.pop(run.trainer, None)

    def to_json(self) -> dict[str, Any]:
        """As JSON values, with the summary that the tables show."""
        return {
            "environment": self.environment,
            "settings": self.settings,
            "workloads": self.workloads,
            "left_out": self.left_out,
            "summary": {
                name: {trainer: self.summary(name, trainer) for trainer in self.trainers(name)}
                for name in self.workloads
            },
            "runs": [asdict(run) for run in self.runs],
        }

    def trainers(self, workload: str) -> list[str]:
        """Trainers with runs, in the order of `TRAINERS`."""
        found = {run.trainer for run in self.runs if run.workload == workload}
        return [trainer for trainer in TRAINERS if trainer in found]

    def of(self, workload: str, trainer: str) -> list[Run]:
        """A trainer's runs by seed."""
        found = [run for run in self.runs if (run.workload, run.trainer) == (workload, trainer)]
        return sorted(found, key=lambda run: run.seed)

    def time_ratio(self, workload: str, trainer: str, to: str) -> Interval | None:
        """Geometric mean over the seeds that both have of the trainer's time over the other's."""
        logs = [math.log(a.seconds / b.seconds) for a, b in self._same_seeds(workload, trainer, to)]
        if not logs:
            return None
        mean = statistics.fmean(logs)
        half = math.nan
        if len(logs) > 1:
            error = statistics.stdev(logs) / math.sqrt(len(logs))
            half = float(stats.t.ppf(0.975, len(logs) - 1)) * error
        return Interval(math.exp(mean), math.exp(mean - half), math.exp(mean + half))

    def accuracy(self, workload: str, trainer: str) -> Interval:
        """Share of held-out pairs that are ordered right, mean of the seeds."""
        return self._mean(workload, [run.right for run in self.of(workload, trainer)])

    def accuracy_gap(self, workload: str, trainer: str, to: str) -> Interval | None:
        """The trainer's accuracy less the other's, on the same pairs with the same seeds."""
        both = self._same_seeds(workload, trainer, to)
        return (
            self._mean(workload, [np.subtract(a.right, b.right) for a, b in both]) if both else None
        )

    def summary(self, workload: str, trainer: str) -> dict[str, Any]:
        """A trainer's row as values."""
        runs = self.of(workload, trainer)
        found: dict[str, Any] = {
            "seeds": [run.seed for run in runs],
            "seconds": statistics.median(run.seconds for run in runs),
            "update_seconds": statistics.median(run.update_seconds for run in runs),
            "updates": runs[0].updates,
            "sequence_tokens": runs[0].sequence_tokens,
            "computed_tokens": statistics.fmean(run.computed_tokens for run in runs),
            "peak_bytes": max(run.peak_bytes for run in runs),
            "accuracy": asdict(self.accuracy(workload, trainer)),
        }
        for other in COMPARED_WITH:
            ratio = self.time_ratio(workload, trainer, other)
            gap = self.accuracy_gap(workload, trainer, other)
            if other != trainer and ratio is not None and gap is not None:
                found[f"time_over_{other}"] = asdict(ratio)
                found[f"accuracy_over_{other}"] = asdict(gap)
        return found

    def tables(self) -> str:
        """As Markdown, one table a workload."""
        parts = [self._table(name) for name in self.workloads if self.trainers(name)]
        parts += [f"**{trainer} is left out: {why}**" for trainer, why in self.left_out.items()]
        return "\n\n".join([*parts, facts_line(self.environment)])

    def _table(self, workload: str) -> str:
        trainers = self.trainers(workload)
        peers = [trainer for trainer in COMPARED_WITH if trainer in trainers]
        header = ["", "seconds", "update p50", "tokens computed", "peak MiB", "accuracy"]
        header += [f"time ÷ {peer}" for peer in peers]
        header += [f"accuracy − {peer}" for peer in peers[:1]]
        rows = []
        for trainer in trainers:
            found = self.summary(workload, trainer)
            rows.append(
                [
                    trainer,
                    f"{found['seconds']:.1f}",
                    f"{found['update_seconds']:.3f}",
                    f"{found['computed_tokens']:,.0f}",
                    f"{found['peak_bytes'] / _MIB:.0f}",
                    self.accuracy(workload, trainer).show(".3f"),
                    *(_shown(found, f"time_over_{peer}", ".2f") for peer in peers),
                    *(_shown(found, f"accuracy_over_{peer}", "+.3f") for peer in peers[:1]),
                ]
            )
        facts = self.workloads[workload].items()
        told = {name: value for name, value in facts if not isinstance(value, list | dict)}
        told["seeds"] = sorted({run.seed for run in self.runs if run.workload == workload})
        return "\n\n".join([f"## {workload}", markdown_table(header, rows), facts_line(told)])

    def _same_seeds(self, workload: str, trainer: str, other: str) -> list[tuple[Run, Run]]:
        theirs = {run.seed: run for run in self.of(workload, other)}
        own = self.of(workload, trainer)
        return [(run, theirs[run.seed]) for run in own if run.seed in theirs]

    def _mean(self, workload: str, values: Sequence[Any]) -> Interval:
        return resampled_mean(np.array(values), np.array(self.workloads[workload]["pair_prompts"]))


def resampled_mean(values: NDArray[np.float64], prompts: NDArray[np.int64]) -> Interval:
    """The mean with its bootstrap interval: prompts and seeds are drawn anew, independently.

    Pairs of one prompt share responses and runs of one seed share an order, so that neither pairs
    nor runs are independent.

    Args:
        values: (seeds, pairs).
        prompts: of each pair the index of its prompt, (pairs,).
    """
    count = int(prompts.max()) + 1
    sizes = np.bincount(prompts, minlength=count).astype(float)
    sums = np.array([np.bincount(prompts, weights=row, minlength=count) for row in values])
    random = np.random.default_rng(0)
    drawn_prompts = random.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    seeds = len(values)
    drawn_seeds = random.multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES) / seeds
    by_seed = drawn_prompts @ sums.T / (drawn_prompts @ sizes)[:, None]  # (resamples, seeds)
    means = (by_seed * drawn_seeds).sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))


def _shown(summary: Mapping[str, Any], name: str, spec: str) -> str:
    return Interval(**summary[name]).show(spec) if name in summary else "–"
