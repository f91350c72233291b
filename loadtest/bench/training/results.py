"""What the trainers' runs come to: merged over calls, ratios and accuracies with intervals."""

import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from loadtest.bench.training.settings import TRAINERS
from loadtest.errors import LoadTestError
from loadtest.report import markdown_table

RESAMPLES = 2_000
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

    Attributes:
        workload: what on.
        trainer: by which trainer.
        seed: of the data's order.
        seconds: of the training loop.
        update_seconds: the median update's.
        updates: how many.
        sequence_tokens: of all texts that the trainer was given.
        computed_tokens: that its model ran over.
        peak_bytes: the most memory of its process until the loop's end.
        right: of every held-out pair 1 if it is ordered right, ½ for equal rewards.
        versions: of what it ran on.
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
        environment: of the machine.
        settings: of the base, the recipe and the data; equal for all runs.
        workloads: facts of each, and `pair_prompts`, the index of each held-out pair's prompt.
        runs: so far.
        left_out: trainers that did not run, and why.
    """

    environment: Mapping[str, str]
    settings: Mapping[str, Any]
    workloads: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

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

    @classmethod
    def read(cls, path: Path) -> "Comparison":
        """One that was written before.

        Raises:
            LoadTestError: the file is none.
        """
        try:
            found = json.loads(path.read_text("utf-8"))
            runs = [Run(**{**run, "right": tuple(run["right"])}) for run in found["runs"]]
            return cls(
                found["environment"],
                found["settings"],
                found["workloads"],
                runs,
                found["left_out"],
            )
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise LoadTestError(
                f"{path} is no result of `train` ({type(exc).__name__}); name another file"
            ) from exc

    def merge(self, other: "Comparison") -> None:
        """Take in another's runs; a run that stands already is replaced.

        Raises:
            LoadTestError: it was made with other settings, data or on another machine.
        """
        for what, mine, theirs in (
            ("settings", _plain(self.settings), _plain(other.settings)),
            ("machine", self.environment["processor"], other.environment["processor"]),
        ):
            if mine != theirs:
                raise LoadTestError(f"runs with other {what} can't stand in one table")
        for name, facts in other.workloads.items():
            if _plain(self.workloads.setdefault(name, facts)) != _plain(facts):
                raise LoadTestError(f"{name}: the data has changed since; start a new file")
        new = {run.key for run in other.runs}
        self.runs = [run for run in self.runs if run.key not in new] + other.runs
        done = {run.trainer for run in self.runs}
        self.left_out = {
            trainer: why
            for trainer, why in {**self.left_out, **other.left_out}.items()
            if trainer not in done
        }

    def trainers(self, workload: str) -> list[str]:
        """Arms with runs, in the order of `TRAINERS`."""
        found = {run.trainer for run in self.runs if run.workload == workload}
        return [trainer for trainer in TRAINERS if trainer in found]

    def of(self, workload: str, trainer: str) -> list[Run]:
        """A trainer's runs by seed."""
        found = [run for run in self.runs if (run.workload, run.trainer) == (workload, trainer)]
        return sorted(found, key=lambda run: run.seed)

    def time_ratio(self, workload: str, trainer: str, to: str) -> Interval | None:
        """Geometric mean over the seeds that both have of the trainer's time over the other's."""
        theirs = {run.seed: run.seconds for run in self.of(workload, to)}
        logs = [
            math.log(run.seconds / theirs[run.seed])
            for run in self.of(workload, trainer)
            if run.seed in theirs
        ]
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
        rights = np.array([run.right for run in self.of(workload, trainer)])
        return resampled_mean(rights, self._prompts(workload))

    def accuracy_gap(self, workload: str, trainer: str, to: str) -> Interval | None:
        """The trainer's accuracy less the other's, on the same pairs with the same seeds."""
        theirs = {run.seed: run.right for run in self.of(workload, to)}
        both = [run for run in self.of(workload, trainer) if run.seed in theirs]
        if not both:
            return None
        gaps = np.array([np.subtract(run.right, theirs[run.seed]) for run in both])
        return resampled_mean(gaps, self._prompts(workload))

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
        for other in ("trl", "trl-grouped", "padded"):
            if other == trainer:
                continue
            ratio = self.time_ratio(workload, trainer, other)
            gap = self.accuracy_gap(workload, trainer, other)
            if ratio is not None and gap is not None:
                found[f"time_over_{other}"] = asdict(ratio)
                found[f"accuracy_over_{other}"] = asdict(gap)
        return found

    def tables(self) -> str:
        """As Markdown, one table a workload."""
        parts = [self._table(name) for name in self.workloads if self.trainers(name)]
        parts += [f"**{trainer} is left out: {why}**" for trainer, why in self.left_out.items()]
        machine = "; ".join(f"{name}: {value}" for name, value in self.environment.items())
        return "\n\n".join([*parts, machine])

    def _table(self, workload: str) -> str:
        peers = [
            trainer
            for trainer in ("trl", "trl-grouped", "padded")
            if trainer in self.trainers(workload)
        ]
        header = ["", "seconds", "update p50", "tokens computed", "peak MiB", "accuracy"]
        header += [f"time ÷ {peer}" for peer in peers]
        header += [f"accuracy − {peer}" for peer in peers[:1]]
        rows = []
        for trainer in self.trainers(workload):
            found = self.summary(workload, trainer)
            row = [
                trainer,
                f"{found['seconds']:.1f}",
                f"{found['update_seconds']:.3f}",
                f"{found['computed_tokens']:,.0f}",
                f"{found['peak_bytes'] / _MIB:.0f}",
                self.accuracy(workload, trainer).show(".3f"),
            ]
            row += [
                _shown(self.time_ratio(workload, trainer, peer), trainer == peer, ".2f")
                for peer in peers
            ]
            row += [
                _shown(self.accuracy_gap(workload, trainer, peer), trainer == peer, "+.3f")
                for peer in peers[:1]
            ]
            rows.append(row)
        facts = {
            name: value
            for name, value in self.workloads[workload].items()
            if not isinstance(value, list | dict)
        }
        seeds = sorted({run.seed for run in self.runs if run.workload == workload})
        told = "; ".join(f"{name}: {value}" for name, value in {**facts, "seeds": seeds}.items())
        return "\n\n".join([f"## {workload}", markdown_table(header, rows), told])

    def _prompts(self, workload: str) -> NDArray[np.int64]:
        return np.array(self.workloads[workload]["pair_prompts"])


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


def _shown(found: Interval | None, is_itself: bool, spec: str) -> str:
    if is_itself or found is None:
        return "–"
    return found.show(spec)


def _plain(value: Any) -> Any:
    """As it comes back from JSON."""
    return json.loads(json.dumps(value))
