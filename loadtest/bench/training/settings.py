"""What is trained, and how: the same for every trainer."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from loadtest.bench.training.rankings import Limits
from rm_core.types import Role

TRAINERS = ("ours", "padded", "trl", "trl-grouped")
"""`rewardd train`; the same with packing off; TRL's `RewardTrainer` as it comes, rows in random
order; TRL with rows of like length in a batch."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Data and the objective that suits it.

    Attributes:
        name: of the workload.
        files: of the data directory.
        role: of the reward model.
        objective: ours; TRL has Bradley-Terry over pairs.
        limits: which rankings take part.
        batch: rankings in an update.
    """

    name: str
    files: tuple[str, ...]
    role: Role
    objective: str
    limits: Limits
    batch: int

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


WORKLOADS: Mapping[str, Workload] = {
    "pairs": Workload(
        "pairs",
        ("safety_pairs.jsonl.gz",),
        "safety",
        "bradley_terry",
        Limits(least=2, most=2, max_length=512),
        batch=16,
    ),
    "kwise": Workload(
        "kwise",
        ("helpfulness_kway.jsonl.gz",),
        "helpfulness",
        "kwise",
        Limits(least=4, most=8, max_length=512),
        batch=4,
    ),
}


@dataclass(frozen=True, slots=True)
class BaseSize:
    """Of the language model that every trainer starts from.

    Attributes:
        hidden: the trunk's width.
        layers: decoder layers.
        vocabulary: most tokens of the tokenizer.
        epochs: passes of language-modelling over the train side.
    """

    hidden: int = 256
    layers: int = 4
    vocabulary: int = 8192
    epochs: float = 0.3


@dataclass(frozen=True, slots=True)
class Recipe:
    """The optimiser's settings, LLaMA-2's but for the rate (arXiv 2307.09288 §3.2.2).

    Attributes:
        learning_rate: the highest one.
        min_learning_rate_ratio: the cosine's end as a share of it.
        weight_decay: AdamW's.
        adam_beta1: AdamW's.
        adam_beta2: AdamW's.
        adam_epsilon: AdamW's.
        max_grad_norm: gradients are clipped to this norm.
        logging_steps: updates between log lines.
    """

    learning_rate: float = 3e-4
    min_learning_rate_ratio: float = 0.1
    weight_decay: float = 0.1
    adam_beta1: float = 0.9
    adam_beta2: float = 0.95
    adam_epsilon: float = 1e-5
    max_grad_norm: float = 1.0
    logging_steps: int = 10


@dataclass(frozen=True, slots=True)
class Settings:
    """What must be equal for runs to stand in one table.

    Attributes:
        base: the model's size.
        recipe: the optimiser's.
        heldout_fraction: share of prompts, by hash, that are for evaluation alone.
        threads: of every trainer.
    """

    base: BaseSize = field(default_factory=BaseSize)
    recipe: Recipe = field(default_factory=Recipe)
    heldout_fraction: float = 0.2
    threads: int = 2

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Updates of one epoch, for rankings and for the pairs that they expand to.

    Attributes:
        updates: of ours.
        warmup: updates in which the rate climbs: a tenth.
        pairs_batch: pairs in an update of TRL's, so that it makes as many.
    """

    updates: int
    warmup: int
    pairs_batch: int

    @classmethod
    def of(cls, rankings: int, pairs: int, batch: int) -> "Schedule":
        """The schedule of `rankings` with `pairs` in all, `batch` rankings to an update."""
        updates = math.ceil(rankings / batch)
        return cls(updates, max(1, updates // 10), math.ceil(pairs / updates))
