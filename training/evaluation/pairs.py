"""Figures of pairs: accuracy, loss and margins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.data.examples import Example
from training.evaluation.accuracy import Accuracy, accuracies_where, accuracy_of
from training.evaluation.rewards import Rewards, pair_table
from training.types import STRENGTHS

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class PairFigures:
    """Figures of pairs: accuracy, loss, rewards and margins.

    Attributes:
        prompts: different prompts that the pairs are of.
        accuracy: over all pairs.
        by_strength: per grade, for those that occur.
        loss: mean −log σ(r_c − r_r), without margin, in nats; log 2 is a coin's.
        loss_with_margin: the same with the margins that training asked for.
        mean_chosen: mean reward of chosen responses, once per pair.
        mean_rejected: of rejected ones.
        margin_mean: mean of r_c − r_r.
        margin_std: its standard deviation.
        margin_quantiles: its quantiles, by name ("p05", …).
    """

    prompts: int
    accuracy: Accuracy
    by_strength: Mapping[str, Accuracy]
    loss: float
    loss_with_margin: float
    mean_chosen: float
    mean_rejected: float
    margin_mean: float
    margin_std: float
    margin_quantiles: Mapping[str, float]


def pair_figures(
    examples: Sequence[Example], rewards: Rewards, *, seed: int = 0
) -> PairFigures | None:
    """Compute figures of pairs, means over pairs and not over batches; None of no pair."""
    table = pair_table(examples, rewards)
    if not table.pairs:
        return None
    gap, keys = table.gap, table.keys
    owners = list(zip(table.owners, table.pairs, strict=True))
    chosen = np.array([rewards[at][pair.chosen] for at, pair in owners], dtype=np.float64)
    rejected = np.array([rewards[at][pair.rejected] for at, pair in owners], dtype=np.float64)
    asked = np.array([pair.margin for pair in table.pairs], dtype=np.float64)
    strengths = np.array([pair.strength or "" for pair in table.pairs])
    return PairFigures(
        prompts=len(set(keys)),
        accuracy=accuracy_of(gap, keys, seed=seed),
        by_strength=accuracies_where(
            gap, keys, {grade: strengths == grade for grade in STRENGTHS}, seed=seed
        ),
        loss=float(np.logaddexp(0.0, -gap).mean()),
        loss_with_margin=float(np.logaddexp(0.0, asked - gap).mean()),
        mean_chosen=float(chosen.mean()),
        mean_rejected=float(rejected.mean()),
        margin_mean=float(gap.mean()),
        margin_std=float(gap.std()),
        margin_quantiles={
            f"p{round(100 * q):02d}": float(value)
            for q, value in zip(_QUANTILES, np.quantile(gap, _QUANTILES), strict=True)
        },
    )
