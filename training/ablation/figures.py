"""The statistics of an ablation: accuracies of its rows, with intervals over seeds and prompts.

An accuracy is a mean over seeds and pairs. Its interval resamples both: prompts with replacement,
and independently seeds with replacement (the pigeonhole bootstrap, Owen 2007, Annals of Applied
Statistics 1(2), 386-411, which errs on the wide side). Rows are resampled with the same draws, so
that an interval of a difference knows that both rows met the same prompts and the same seeds.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.ablation.trials import Ablation, Cell
from training.evaluation.accuracy import credit_of
from training.statistics.intervals import (
    RESAMPLES,
    Floats,
    Interval,
    clusters,
    draws,
    percentile_interval,
)
from training.types import STRENGTHS

GRADED = "graded"
"""The column over all graded pairs, where others are held out too; the paper's average."""
ALL = "all"
"""The column over all pairs, graded or not."""


@dataclass(frozen=True, slots=True)
class Figure:
    """An accuracy, or a difference of two.

    Attributes:
        value: mean over seeds and pairs.
        interval: 95 %, over seeds and prompts.
        seed_std: standard deviation between seeds, unbiased; None of one seed.
    """

    value: float
    interval: Interval
    seed_std: float | None


@dataclass(frozen=True, slots=True)
class Row:
    """One setting.

    Attributes:
        label: what it is.
        accuracy: by column: the grades that occur, `GRADED` where it differs from `ALL`, `ALL`.
        difference: to the first row, by column; empty for the first row.
        seconds: of all its trainings, whenever they ran.
    """

    label: str
    accuracy: dict[str, Figure]
    difference: dict[str, Figure]
    seconds: float


@dataclass(frozen=True, slots=True)
class AblationTable:
    """What an ablation found.

    Attributes:
        rows: the settings, in order.
        pairs: how many, by column.
        prompts: different held-out prompts.
        seeds: trainings of each row.
        left_out: combinations that can't be trained, with the reason.
    """

    rows: tuple[Row, ...]
    pairs: dict[str, int]
    prompts: int
    seeds: int
    left_out: tuple[str, ...] = ()

    @classmethod
    def of(cls, ablation: Ablation, *, seed: int = 0) -> "AblationTable":
        """The table of trained cells.

        Args:
            ablation: at least one row of at least one cell, all on the same pairs.
            seed: of the resampling.
        """
        first = ablation.cells[0][0]
        columns = _columns(first.strengths)
        resampled = _Resampled(first.prompts, seeds=len(ablation.cells[0]), seed=seed)
        by_row = [_credits(cells) for cells in ablation.cells]
        rows: list[Row] = []
        for label, credit, cells in zip(
            ablation.grid.labels(), by_row, ablation.cells, strict=True
        ):
            rows.append(
                Row(
                    label=label,
                    accuracy={
                        name: resampled.figure(credit, kept) for name, kept in columns.items()
                    },
                    difference={
                        name: resampled.figure(credit - by_row[0], kept)
                        for name, kept in columns.items()
                    }
                    if rows
                    else {},
                    seconds=sum(cell.seconds for cell in cells),
                )
            )
        return cls(
            rows=tuple(rows),
            pairs={name: int(kept.sum()) for name, kept in columns.items()},
            prompts=len(set(first.prompts)),
            seeds=len(ablation.cells[0]),
            left_out=ablation.grid.left_out,
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def _columns(strengths: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    """Which pairs each column is over, (pairs,)."""
    columns: dict[str, NDArray[np.bool_]] = {
        grade: np.array([strength == grade for strength in strengths])
        for grade in STRENGTHS
        if grade in strengths
    }
    graded = np.array([strength != "" for strength in strengths], dtype=bool)
    if len(columns) > 1 and not graded.all():
        columns[GRADED] = graded
    columns[ALL] = np.ones(len(strengths), dtype=bool)
    return columns


class _Resampled:
    """Draws of prompts and seeds that all figures share.

    Args:
        prompts: of each pair.
        seeds: how many.
        seed: of the drawing.
    """

    def __init__(self, prompts: Sequence[str], *, seeds: int, seed: int) -> None:
        self._cluster = clusters(prompts)
        self._num_prompts = int(self._cluster.max()) + 1
        self._seed = seed
        # (resamples, seeds): how often each seed is drawn.
        self._of_seeds = np.concatenate(list(draws(seeds, seed=seed + 1)))

    def figure(self, values: Floats, kept: NDArray[np.bool_]) -> Figure:
        """Mean of values, (seeds, pairs), over the kept pairs, (pairs,), with its interval."""
        chosen, cluster = values[:, kept], self._cluster[kept]
        counts = np.bincount(cluster, minlength=self._num_prompts).astype(np.float64)
        sums = np.stack(
            [np.bincount(cluster, weights=row, minlength=self._num_prompts) for row in chosen],
            dtype=np.float64,
        )  # (seeds, prompts)
        by_seed = chosen.mean(axis=1)
        return Figure(
            value=float(by_seed.mean()),
            interval=percentile_interval(self._means(sums, counts)),
            seed_std=float(by_seed.std(ddof=1)) if len(by_seed) > 1 else None,
        )

    def _means(self, sums: Floats, counts: Floats) -> Floats:
        """The mean of each resample, (resamples,); NaN where no kept pair was drawn."""
        drawn = [
            (block @ sums.T, block @ counts)
            for block in draws(self._num_prompts, seed=self._seed, resamples=RESAMPLES)
        ]
        by_seed = np.concatenate([block for block, _ in drawn])  # (resamples, seeds)
        pairs = np.concatenate([count for _, count in drawn])
        totals = (by_seed * self._of_seeds).sum(axis=1)
        weights = pairs * self._of_seeds.sum(axis=1)
        means: Floats = np.divide(
            totals, weights, out=np.full(len(totals), np.nan), where=weights > 0
        )
        return means


def _credits(cells: Sequence[Cell]) -> Floats:
    """1 for a pair in the right order, ½ for a tie, (seeds, pairs)."""
    return np.stack([credit_of(np.asarray(cell.gaps, dtype=np.float64)) for cell in cells])
