"""What is trained, and how: the same for every trainer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from loadtest.bench.training.rankings import Limits
from loadtest.errors import LoadTestError
from loadtest.settings import DEFAULT_DIRECTORY, Directory
from rm_core.types import Role

TRAINERS = ("ours", "padded", "trl", "trl-grouped")
"""`rewardd train`; the same with packing off; TRL's `RewardTrainer` as it comes, rows in random
order; TRL with rows of like length in a batch."""

HELDOUT_FRACTION = 0.2
"""Share of prompts, by hash, that are for evaluation alone."""

RECIPE: Mapping[str, float] = {
    "learning_rate": 3e-4,
    "min_learning_rate_ratio": 0.1,
    "weight_decay": 0.1,
    "adam_beta1": 0.9,
    "adam_beta2": 0.95,
    "adam_epsilon": 1e-5,
    "max_grad_norm": 1.0,
    "logging_steps": 10,
}
"""The optimiser's settings by the names of both trainers, LLaMA-2's but for the rate (arXiv
2307.09288 §3.2.2)."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Data and the objective of ours that suits it (TRL has Bradley-Terry over pairs).

    `batch` is rankings in an update.
    """

    name: str
    file: str
    role: Role
    objective: str
    limits: Limits
    batch: int


WORKLOADS: Mapping[str, Workload] = {
    "pairs": Workload(
        "pairs", "safety_pairs.jsonl.gz", "safety", "bradley_terry", Limits(2, 2, 512), batch=16
    ),
    "kwise": Workload(
        "kwise", "helpfulness_kway.jsonl.gz", "helpfulness", "kwise", Limits(4, 8, 512), batch=4
    ),
}


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """What to run, and on what; the trainer that begins moves on by one each seed."""

    data: Annotated[Path, typer.Option(help="Directory of the collection of preference data.")]
    workload: Annotated[list[str], typer.Option(help="May be repeated.")] = field(
        default_factory=lambda: list(WORKLOADS)
    )
    trainer: Annotated[list[str], typer.Option(help="May be repeated.")] = field(
        default_factory=lambda: list(TRAINERS)
    )
    seed: Annotated[list[int], typer.Option(help="Of the data's order; may be repeated.")] = field(
        default_factory=lambda: [0, 1, 2]
    )
    trl_python: Annotated[
        Path | None,
        typer.Option(
            exists=True, help="Python of an environment that has TRL; else it is left out."
        ),
    ] = None
    records: Annotated[
        int, typer.Option(min=0, help="Most rankings of the train side; 0: all.")
    ] = 0
    hidden: Annotated[int, typer.Option(min=8, help="Width of the base.")] = 256
    layers: Annotated[int, typer.Option(min=1, help="Layers of the base.")] = 4
    vocabulary: Annotated[int, typer.Option(min=300, help="Tokens of the base.")] = 8192
    base_epochs: Annotated[
        float, typer.Option(help="Passes of language-modelling that the base has had.")
    ] = 0.3
    threads: Annotated[int, typer.Option(min=1, help="Of every trainer.")] = 2
    directory: Directory = DEFAULT_DIRECTORY

    def __post_init__(self) -> None:
        for what, named, known in (
            ("workload", self.workload, WORKLOADS),
            ("trainer", self.trainer, TRAINERS),
        ):
            for name in named:
                if name not in known:
                    raise LoadTestError(f"no {what} named {name}; there are: {', '.join(known)}")

    @property
    def place(self) -> Path:
        """Where this comparison's files are built."""
        return self.directory / "training"

    @property
    def base(self) -> dict[str, Any]:
        """Of the language model that every trainer starts from, as `make-base` has its flags."""
        sizes = {name: getattr(self, name) for name in ("hidden", "layers", "vocabulary")}
        return {**sizes, "epochs": self.base_epochs}

    def to_json(self) -> dict[str, Any]:
        """What must be equal for runs to stand in one table."""
        return {
            "base": self.base,
            "recipe": dict(RECIPE),
            "heldout_fraction": HELDOUT_FRACTION,
            "threads": self.threads,
        }

    def left_out(self) -> dict[str, str]:
        """Trainers that can't run, and why."""
        if self.trl_python is not None:
            return {}
        why = "no Python with TRL was named (--trl-python)"
        return {trainer: why for trainer in self.trainer if trainer.startswith("trl")}

    def turns(self) -> list[tuple[int, str]]:
        """Seeds and trainers in the order of running: each once a seed, each first in its turn.

        The turn is the seed's, so that seeds that are run by several calls take turns too.
        """
        able = [trainer for trainer in self.trainer if trainer not in self.left_out()]
        return [
            (seed, able[(at + seed) % len(able)]) for seed in self.seed for at in range(len(able))
        ]
