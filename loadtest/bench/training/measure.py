"""Runs the trainers in turn, seed by seed, and scores what they made."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loadtest.bench.training.prepared import Prepared, prepare
from loadtest.bench.training.results import Comparison, Run
from loadtest.bench.training.scorer import AccuracyScorer
from loadtest.bench.training.settings import TRAINERS, WORKLOADS, Settings
from loadtest.bench.training.trainers import Trained, TrainerRuns, schedule_of
from loadtest.errors import LoadTestError
from loadtest.report import environment


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run.

    Attributes:
        data: directory of the collection.
        directory: what is built goes here.
        workloads: names.
        trainers: trainers, in turn.
        seeds: of the data's order; the trainer that begins moves on by one each seed.
        trl_python: a Python that has TRL; None leaves its trainers out.
        settings: sizes.
        records: most rankings of a workload's train side; 0: all.
    """

    data: Path
    directory: Path
    workloads: Sequence[str] = tuple(WORKLOADS)
    trainers: Sequence[str] = TRAINERS
    seeds: Sequence[int] = (0, 1, 2)
    trl_python: Path | None = None
    settings: Settings = field(default_factory=Settings)
    records: int = 0

    def __post_init__(self) -> None:
        """Refuse what there is not.

        Raises:
            LoadTestError: a name is unknown, or a file is missing.
        """
        for what, named, known in (
            ("workload", self.workloads, WORKLOADS),
            ("trainer", self.trainers, TRAINERS),
        ):
            for name in named:
                if name not in known:
                    raise LoadTestError(f"no {what} named {name}; there are: {', '.join(known)}")
        if self.trl_python is not None and not self.trl_python.exists():
            raise LoadTestError(f"{self.trl_python} is missing; name a Python that has TRL")

    def prepared(self, workload: str) -> Prepared:
        """The files of a workload, made where they are missing.

        Raises:
            LoadTestError: the data is missing, or the base can't be made.
        """
        return prepare(
            WORKLOADS[workload], self.data, self.directory, self.settings, records=self.records
        )

    def left_out(self) -> dict[str, str]:
        """Arms that can't run, and why."""
        if self.trl_python is not None:
            return {}
        why = "no Python with TRL was named (--trl-python)"
        return {trainer: why for trainer in self.trainers if trainer.startswith("trl")}

    def turns(self) -> list[tuple[int, str]]:
        """Seeds and trainers in the order of running: each once a seed, each first in its turn.

        The turn is the seed's, so that seeds that are run by several calls take turns too.
        """
        able = [trainer for trainer in self.trainers if trainer not in self.left_out()]
        return [
            (seed, able[(at + seed) % len(able)]) for seed in self.seeds for at in range(len(able))
        ]


def measure_training(
    plan: Plan,
    say: Callable[[str], None],
    keep: Callable[[Comparison], None] = lambda _: None,
) -> Comparison:
    """Run everything.

    Args:
        plan: what.
        say: told of each run.
        keep: given all runs so far after each one, so that a run cut off loses one run alone.

    Raises:
        LoadTestError: the trainers did not get the same texts or pairs, or one failed.
    """
    found = Comparison(environment(), plan.settings.to_json(), left_out=plan.left_out())
    trainers = TrainerRuns(plan.settings, plan.directory, plan.trl_python)
    for name in plan.workloads:
        prepared = plan.prepared(name)
        found.workloads[name] = facts_of(prepared)
        say(f"{name}: {prepared.facts()}")
        for seed, trainer in plan.turns():
            trained = trainers.train(trainer, prepared, seed)
            scorer = AccuracyScorer(trained.checkpoint, prepared.workload.role)
            check_same_data(trainer, trained, prepared, scorer)
            run = run_of(name, trainer, seed, trained, scorer.right(prepared.heldout))
            found.runs.append(run)
            keep(found)
            say(
                f"{name}, {trainer}, seed {seed}: {run.seconds:.1f} s, {run.updates} updates, "
                f"accuracy {statistics.fmean(run.right):.3f}"
                + (
                    f", the token ids of {len(trained.texts)} texts are ours"
                    if trained.texts
                    else ""
                )
            )
    return found


def facts_of(prepared: Prepared) -> dict[str, object]:
    """What a workload's runs have in common."""
    schedule = schedule_of(prepared)
    return {
        **prepared.facts(),
        "updates": schedule.updates,
        "rankings_an_update": prepared.workload.batch,
        "pairs_an_update_trl": schedule.pairs_batch,
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
        LoadTestError: other pairs, other token ids, or another number of tokens than the texts'.
    """
    if trained.pairs != prepared.num_pairs:
        raise LoadTestError(
            f"{trainer} trained on {trained.pairs} pairs of {prepared.num_pairs}; the trainers "
            "would not be compared on the same data"
        )
    if trained.texts and set(trained.texts) != scorer.text_digests(prepared.train):
        raise LoadTestError(f"{trainer} made other token ids of the same texts")


def run_of(workload: str, trainer: str, seed: int, trained: Trained, right: Sequence[float]) -> Run:
    """A run without what is of no further use."""
    return Run(
        workload,
        trainer,
        seed,
        trained.seconds,
        statistics.median(trained.update_seconds),
        len(trained.update_seconds),
        trained.sequence_tokens,
        trained.computed_tokens,
        trained.peak_bytes,
        tuple(right),
        trained.versions,
    )
