"""Runs the trainers in turn, seed by seed, and scores what they made."""

import statistics
from collections.abc import Callable
from typing import Any

from loadtest.bench.training.prepared import Prepared, prepare
from loadtest.bench.training.results import Comparison, Run
from loadtest.bench.training.scorer import AccuracyScorer
from loadtest.bench.training.settings import TrainingSettings
from loadtest.bench.training.trainers import Trained, train
from loadtest.errors import LoadTestError


def measure_training(
    settings: TrainingSettings,
    found: Comparison,
    say: Callable[[str], None],
    keep: Callable[[], None],
) -> None:
    """Run everything into `found`, and `keep` it after each run: a break loses one alone.

    Raises:
        LoadTestError: the trainers did not get the same texts or pairs, or one failed.
    """
    for name in settings.workload:
        prepared = prepare(name, settings)
        found.take_workload(name, facts_of(prepared))
        say(f"{name}: {prepared.facts()}")
        for seed, trainer in settings.turns():
            trained = train(trainer, prepared, seed, settings)
            scorer = AccuracyScorer(trained.checkpoint, prepared.workload.role)
            check_same_data(trainer, trained, prepared, scorer)
            run = Run(
                name,
                trainer,
                seed,
                update_seconds=statistics.median(trained.update_seconds),
                updates=len(trained.update_seconds),
                right=tuple(scorer.right(prepared.heldout)),
                versions=trained.versions,
                **trained.figures,
            )
            found.take_run(run)
            keep()
            compared = f", the token ids of {len(trained.texts)} texts are ours"
            say(
                f"{name}, {trainer}, seed {seed}: {run.seconds:.1f} s, {run.updates} updates, "
                f"accuracy {statistics.fmean(run.right):.3f}{compared if trained.texts else ''}"
            )


def facts_of(prepared: Prepared) -> dict[str, Any]:
    """What a workload's runs have in common."""
    return {
        **prepared.facts(),
        "updates": prepared.updates,
        "rankings_an_update": prepared.workload.batch,
        "pairs_an_update_trl": prepared.pairs_batch,
        "max_length": prepared.workload.limits.max_length,
        "objective": prepared.workload.objective,
        "pair_prompts": [
            index for index, ranking in enumerate(prepared.heldout) for _ in ranking.pairs
        ],
    }


def check_same_data(
    trainer: str, trained: Trained, prepared: Prepared, scorer: AccuracyScorer
) -> None:
    """Refuse a comparison of trainers that did not see the same.

    Raises:
        LoadTestError: other pairs, or other token ids.
    """
    if trained.pairs != prepared.num_pairs:
        raise LoadTestError(
            f"{trainer} trained on {trained.pairs} pairs of {prepared.num_pairs}; the trainers "
            "would not be compared on the same data"
        )
    if trained.texts and set(trained.texts) != scorer.text_digests(prepared.train):
        raise LoadTestError(f"{trainer} made other token ids of the same texts")
