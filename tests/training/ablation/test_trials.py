"""A cell is trained once, whatever interrupts the others; what decides its figures names it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.training.ablation.made_up import cell
from tests.training.samples import preference_rows, write_jsonl
from training.ablation import trials as cells
from training.ablation.grid import Grid, make_grid
from training.ablation.trials import Ablation, on_common_pairs, run_ablation
from training.batches import cached_states
from training.config import TrainingConfig
from training.errors import DataError
from training.pipeline import train_reward_model
from training.progress import SilentProgress


@pytest.fixture
def config(tiny_base: Path, tmp_path: Path) -> TrainingConfig:
    data = write_jsonl(tmp_path / "preferences.jsonl", preference_rows(32))
    return TrainingConfig(
        role="safety",
        data=(str(data),),
        base=str(tiny_base),
        output=str(tmp_path / "ablation"),
        max_length=128,
        learning_rate=3e-3,
        batch_size=8,
        gradient_accumulation=1,
        calibration="none",
        report=False,
    )


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, int]]:
    """What was trained, by margins and seed, in order."""
    log: list[tuple[Any, int]] = []
    fit = cells.fit

    def counted(start: Any, data: Any, config: TrainingConfig, **options: Any) -> Any:
        log.append((config.margins, config.seed))
        return fit(start, data, config, **options)

    monkeypatch.setattr(cells, "fit", counted)
    return log


def gaps(ablation: Ablation) -> list[list[tuple[float, ...]]]:
    return [[cell.gaps for cell in row] for row in ablation.cells]


def margins(config: TrainingConfig, *names: str) -> Grid:
    return make_grid(config, margins=names)


def test_a_finished_cell_is_not_trained_again_and_gives_the_same(
    config: TrainingConfig, trained: list[tuple[Any, int]]
) -> None:
    first = run_ablation(config, margins(config, "none"), seeds=2)
    assert trained == [("none", 0), ("none", 1)]

    more = run_ablation(config, margins(config, "none", "large"), seeds=2)

    assert trained[2:] == [("large", 0), ("large", 1)]
    assert (first.reused, more.reused) == (0, 2)
    assert gaps(more)[0] == gaps(first)[0]
    assert gaps(more)[0][0] != gaps(more)[0][1]  # seeds differ
    assert gaps(more)[0][0] != gaps(more)[1][0]  # so do margins


def test_an_interrupted_ablation_goes_on_where_it_stopped(
    config: TrainingConfig, trained: list[tuple[Any, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(Exception):
        pass

    counted = cells.fit

    def stop_at_the_third(*arguments: Any, **options: Any) -> Any:
        if len(trained) == 2:
            raise Stopped
        return counted(*arguments, **options)

    grid = margins(config, "none", "small")
    monkeypatch.setattr(cells, "fit", stop_at_the_third)
    with pytest.raises(Stopped):
        run_ablation(config, grid, seeds=2)
    monkeypatch.setattr(cells, "fit", counted)

    ablation = run_ablation(config, grid, seeds=2)

    assert ablation.reused == 2
    assert trained == [("none", 0), ("none", 1), ("small", 0), ("small", 1)]


def test_what_decides_the_figures_makes_another_cell(
    config: TrainingConfig, trained: list[tuple[Any, int]], tmp_path: Path
) -> None:
    run_ablation(config, margins(config, "none"), seeds=1)
    other_rate = replace(config, learning_rate=1e-3)
    run_ablation(other_rate, margins(other_rate, "none"), seeds=1)
    write_jsonl(tmp_path / "preferences.jsonl", preference_rows(28))

    run_ablation(config, margins(config, "none"), seeds=1)

    assert len(trained) == 3


def test_states_of_the_trunk_are_computed_once_for_all_rows_that_read_the_same(
    config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    forwarded: list[str] = []
    of_trunk = cached_states._forwarded

    def counted(start: Any, wanted: Any, **options: Any) -> Any:
        forwarded.append("once")
        return of_trunk(start, wanted, **options)

    monkeypatch.setattr(cached_states, "_forwarded", counted)
    config = replace(config, trainable="head")
    grid = make_grid(config, margins=["none", "large"], heads=["last_token", "mean"])

    ablation = run_ablation(config, grid, seeds=2)

    assert len(ablation.cells) == 4
    assert len(forwarded) == 2  # one for each head, however the rows alternate


def test_a_torn_cell_is_trained_again(
    config: TrainingConfig, trained: list[tuple[Any, int]]
) -> None:
    grid = margins(config, "none")
    whole = run_ablation(config, grid, seeds=1)
    (file,) = (Path(config.output) / "cells").glob("*/cell.json")
    file.write_bytes(file.read_bytes()[:100])

    again = run_ablation(config, grid, seeds=1)

    assert len(trained) == 2
    assert gaps(again) == gaps(whole)


def test_a_cell_has_the_accuracy_of_a_training_of_its_own(config: TrainingConfig) -> None:
    ablation = run_ablation(config, margins(config, "small"), seeds=1)
    result = train_reward_model(replace(config, output=f"{config.output}-alone", margins="small"))

    found = ablation.cells[0][0]

    assert len(found.gaps) == result.evaluation.accuracy.pairs
    assert sum(found.gaps) / len(found.gaps) == pytest.approx(result.evaluation.margin_mean)


def test_the_bar_ends_at_the_number_of_trainings(config: TrainingConfig) -> None:
    class Counting(SilentProgress):
        def __init__(self) -> None:
            self.total, self.done, self.moves = 0, 0.0, 0

        def track(self, title: str, total: int) -> Any:
            from contextlib import nullcontext

            self.total = total
            return nullcontext(self.advance)

        def advance(self, share: float) -> None:
            self.done += share
            self.moves += 1

    progress = Counting()
    run_ablation(config, margins(config, "none"), seeds=2, progress=progress)

    assert progress.total == 2
    assert progress.done == pytest.approx(2)
    assert progress.moves >= 2 * 3  # three updates each


def test_every_finished_training_is_told_of_with_what_is_left(config: TrainingConfig) -> None:
    class Hearing(SilentProgress):
        def __init__(self) -> None:
            self.heard: list[str] = []

        def say(self, message: str) -> None:
            self.heard.append(message)

    progress = Hearing()
    run_ablation(config, margins(config, "none", "large"), seeds=1, progress=progress)

    first, last = progress.heard[-2:]
    assert first.startswith("1/2 margins: none, seed 0: ")
    assert "min left" in first
    assert last.startswith("2/2 margins: large, seed 0: ")
    assert "left" not in last


def test_rows_are_compared_on_the_pairs_that_all_of_them_have() -> None:
    some = cell([1.0, 2.0, 3.0])
    others = replace(cell([4.0, 5.0]), pairs=("pair-2", "pair-1"))

    (first,), (second,) = on_common_pairs([[some], [others]])

    assert (first.pairs, first.gaps) == (("pair-1", "pair-2"), (2.0, 3.0))
    assert (second.pairs, second.gaps) == (("pair-1", "pair-2"), (5.0, 4.0))


def test_rows_without_a_pair_in_common_are_not_compared() -> None:
    with pytest.raises(DataError, match="in common"):
        on_common_pairs([[cell([1.0])], [replace(cell([1.0]), pairs=("other",))]])
