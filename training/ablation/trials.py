"""Trains the cells of an ablation, each once: one row with one seed.

A finished cell is a file, named by everything that decides its rewards (configuration, data, base),
so that an interrupted or extended ablation trains only what is missing.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerCallback

from rm_core.checkpoint.atomic import written_whole
from rm_core.checkpoint.load import resolve_directory, weights_digest
from rm_core.errors import ConfigurationError
from training.ablation.grid import Grid, Setting
from training.config import TrainingConfig
from training.data.examples import Comparison, Pair
from training.data.prepare import PreparedData, fingerprint
from training.distributed import join_processes
from training.errors import DataError
from training.evaluation import score_comparisons
from training.evaluation.accuracy import credit_of
from training.losses import targets_of
from training.modeling.reward_model import TrainableModel, check_base, reward_model_from
from training.modeling.trainable import quantisation_for
from training.optimization.fit import Fitted, fit
from training.optimization.resume import identity_of
from training.optimization.trainer import uses_bf16
from training.pipeline import encode_data, read_sources
from training.progress import Progress, SilentProgress

_CELL_NAME = "cell.json"


@dataclass(frozen=True, slots=True)
class Cell:
    """What one training left: how it orders held-out pairs.

    Attributes:
        seed: of the training.
        pairs: a name for each held-out pair, from its token ids.
        gaps: reward of the chosen response less that of the rejected one, of each pair.
        prompts: key of each pair's prompt.
        strengths: grade of each pair; "" where there is none.
        seconds: of training and scoring.
    """

    seed: int
    pairs: tuple[str, ...]
    gaps: tuple[float, ...]
    prompts: tuple[str, ...]
    strengths: tuple[str, ...]
    seconds: float

    def only(self, pairs: Sequence[str]) -> "Cell":
        """The same on some of the pairs, in their order."""
        place = {pair: index for index, pair in enumerate(self.pairs)}
        kept = [place[pair] for pair in pairs]
        return replace(
            self,
            pairs=tuple(self.pairs[index] for index in kept),
            gaps=tuple(self.gaps[index] for index in kept),
            prompts=tuple(self.prompts[index] for index in kept),
            strengths=tuple(self.strengths[index] for index in kept),
        )


@dataclass(frozen=True, slots=True)
class Ablation:
    """All cells of a grid.

    Attributes:
        grid: its rows.
        cells: of each row, one for each seed, all on the same pairs.
        reused: how many cells had been trained before.
    """

    grid: Grid
    cells: tuple[tuple[Cell, ...], ...]
    reused: int = 0


def run_ablation(
    config: TrainingConfig, grid: Grid, *, seeds: int, progress: Progress | None = None
) -> Ablation:
    """Train what is missing.

    Args:
        config: what all cells have in common; `output` is the ablation's directory.
        grid: the rows.
        seeds: trainings of each row, with seeds config.seed, config.seed + 1 ….
        progress: told of stages and, as one bar, of the cells.

    Raises:
        RewardError: data, base or configuration can't be used, or a training diverged; cells that
            were finished stay.
    """
    if join_processes().count > 1:
        raise ConfigurationError(
            "an ablation trains its cells one after the other in one process; start it without "
            "torchrun"
        )
    progress = progress or SilentProgress()
    bench = _Bench(config, progress)
    total = len(grid.settings) * seeds
    rows: list[list[Cell]] = []
    export: list[Cell] = []
    with progress.track("trainings", total) as advance:
        for label, setting in zip(grid.labels(), grid.settings, strict=True):
            rows.append([])
            for seed in range(config.seed, config.seed + seeds):
                rows[-1].append(bench.cell(setting, seed, advance))
                export.append(rows[-1][-1])
                progress.say(_told(label, export, total))
    return Ablation(grid, on_common_pairs(rows), bench.reused)


def _told(label: str, export: Sequence[Cell], total: int) -> str:
    """The last finished cell in a line, for whoever waits for the table."""
    last = export[-1]
    accuracy = float(credit_of(np.asarray(last.gaps, dtype=np.float64)).mean())
    left = (total - len(export)) * sum(cell.seconds for cell in export) / len(export)
    return (
        f"{len(export)}/{total} {label}, seed {last.seed}: {accuracy:.1%} of {len(last.gaps)} "
        f"pairs, {last.seconds:.0f} s" + (f"; at most {left / 60:.0f} min left" if left else "")
    )


def on_common_pairs(rows: Sequence[Sequence[Cell]]) -> tuple[tuple[Cell, ...], ...]:
    """The cells on those pairs alone that all of them have, in one order.

    A head that averages over responses leaves texts out whose response can't be told.

    Raises:
        DataError: there are none.
    """
    common = set.intersection(*(set(cell.pairs) for row in rows for cell in row))
    if not common:
        raise DataError("the rows have no held-out pair in common")
    ordered = [pair for pair in rows[0][0].pairs if pair in common]
    return tuple(tuple(cell.only(ordered) for cell in row) for row in rows)


class _Bench:
    """Data and base of an ablation, read once."""

    def __init__(self, config: TrainingConfig, progress: Progress) -> None:
        self._config = config
        self._directory = Path(config.output)
        self._read = read_sources(config)
        self._progress = progress
        check_base(config.base)
        self._base_digest = weights_digest(resolve_directory(config.base))
        self._prepared: dict[str, PreparedData] = {}
        self.reused = 0

    def cell(self, setting: Setting, seed: int, advance: Callable[[float], None]) -> Cell:
        """A cell, from its file or by training it."""
        config = setting.applied_to(self._config, seed=seed)
        data = self._data(config)
        place = self._directory / "cells" / _key(config, data, self._base_digest)
        cell = _kept(place)
        if cell is not None:
            self.reused += 1
            advance(1)
            return cell
        cell = self._trained(config, data, advance)
        advice = "make room and start the ablation again; what is finished is not trained again"
        with written_whole(place, advice=advice) as directory:
            (directory / _CELL_NAME).write_text(json.dumps(asdict(cell)), encoding="utf-8")
        return cell

    def _data(self, config: TrainingConfig) -> PreparedData:
        """Prepared once for all seeds, and told of once."""
        key = json.dumps([config.margins, sorted(config.weights), config.head], default=dict)
        if key not in self._prepared:
            teller = SilentProgress() if self._prepared else self._progress
            self._prepared[key] = encode_data(config, self._read, teller)
        return self._prepared[key]

    def _trained(
        self, config: TrainingConfig, data: PreparedData, advance: Callable[[float], None]
    ) -> Cell:
        started = time.monotonic()
        within = _WithinACell(advance)
        scratch = self._directory / "unfinished"
        shutil.rmtree(scratch, ignore_errors=True)
        run_directory = self._states_of(config) if config.trainable == "head" else scratch
        fitted = fit(
            self._start(config), data, config, run_directory=run_directory, progress=within
        )
        within.finish()
        cell = _cell_of(fitted, data.heldout, config, time.monotonic() - started)
        shutil.rmtree(scratch, ignore_errors=True)
        return cell

    def _states_of(self, config: TrainingConfig) -> Path:
        """Where the trunk's states are kept, for all rows that read the same positions."""
        read = "-".join([config.head, *sorted(targets_of(config.weights))])
        return self._directory / "states" / read

    @staticmethod
    def _start(config: TrainingConfig) -> TrainableModel:
        return reward_model_from(
            config.base,
            max_length=config.max_length,
            seed=config.seed,
            quantisation=quantisation_for(config),
        )


class _WithinACell:
    """Moves the bar over the cells while one is trained."""

    def __init__(self, advance: Callable[[float], None]) -> None:
        self._advance = advance
        self._left = 1.0

    def say(self, message: str) -> None:
        """The bar says enough."""

    def callbacks(self, title: str) -> Sequence[TrainerCallback]:  # noqa: ARG002
        """Each update moves the bar."""
        return (_Moving(self.move),)

    def track(
        self,
        title: str,  # noqa: ARG002
        total: int,  # noqa: ARG002
    ) -> AbstractContextManager[Callable[[float], None]]:
        """The bar says enough."""
        return nullcontext(lambda _: None)

    def move(self, share: float) -> None:
        """By a share of the cell."""
        self._left -= share
        self._advance(share)

    def finish(self) -> None:
        """To the cell's end."""
        self._advance(self._left)


class _Moving(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    def __init__(self, move: Callable[[float], None]) -> None:
        self._move = move

    def on_step_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        self._move(1 / state.max_steps)


def _cell_of(
    fitted: Fitted, heldout: Sequence[Comparison], config: TrainingConfig, seconds: float
) -> Cell:
    rewards = score_comparisons(
        fitted.scoring_model,
        heldout,
        pad_token_id=fitted.trained.pad_token_id,
        head=config.head,
        layout=fitted.layout,
    )
    pairs = [
        (comparison, given, pair)
        for comparison, given in zip(heldout, rewards, strict=True)
        for pair in comparison.pairs
    ]
    if not pairs:
        raise DataError("no pairs are held out; an ablation compares accuracies on pairs")
    return Cell(
        seed=config.seed,
        pairs=tuple(_name_of(comparison, pair) for comparison, _, pair in pairs),
        gaps=tuple(given[pair.chosen] - given[pair.rejected] for _, given, pair in pairs),
        prompts=tuple(comparison.prompt_key for comparison, _, _ in pairs),
        strengths=tuple(pair.strength or "" for _, _, pair in pairs),
        seconds=seconds,
    )


def _name_of(comparison: Comparison, pair: Pair) -> str:
    ids = [comparison.encoded[index].input_ids for index in (pair.chosen, pair.rejected)]
    return hashlib.sha256(repr(ids).encode()).hexdigest()[:16]


def _key(config: TrainingConfig, data: PreparedData, base_digest: str) -> str:
    """A name for everything that decides a cell's figures."""
    identity = identity_of(
        config,
        data.train,
        base=base_digest,
        processes=1,
        parallel="NO",
        bf16=uses_bf16(config),
    )
    decisive = {
        **asdict(identity),
        "surroundings": None,  # other versions differ in the last bits
        "heldout": fingerprint(data.heldout),
    }
    written = json.dumps(decisive, sort_keys=True, default=dict)
    return hashlib.sha256(written.encode()).hexdigest()[:24]


def _kept(place: Path) -> Cell | None:
    """A cell from its file; None where there is none, or it is not whole."""
    try:
        values: Mapping[str, Any] = json.loads((place / _CELL_NAME).read_text(encoding="utf-8"))
        return Cell(
            seed=int(values["seed"]),
            pairs=tuple(values["pairs"]),
            gaps=tuple(float(gap) for gap in values["gaps"]),
            prompts=tuple(values["prompts"]),
            strengths=tuple(values["strengths"]),
            seconds=float(values["seconds"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
