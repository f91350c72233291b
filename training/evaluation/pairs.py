"""Figures of pairs: accuracy, loss and margins."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from training.errors import DataError
from training.evaluation.accuracy import Accuracy, accuracy_of, accuracy_where
from training.evaluation.cases import Paired, Rewards, pair_table
from training.types import STRENGTHS

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures of pairs and of the rewards of all responses.

    Attributes:
        prompts: different prompts that the pairs are of.
        responses: responses scored.
        accuracy: over all pairs.
        by_strength: per grade, for those that occur.
        loss: mean −log σ(r_c − r_r), without margin, in nats; log 2 is a coin's.
        loss_with_margin: the same with the margins that training asked for.
        mean_chosen: mean reward of chosen responses, once per pair.
        mean_rejected: of rejected ones.
        margin_mean: mean of r_c − r_r.
        margin_std: its standard deviation.
        margin_quantiles: its quantiles, by name ("p05", …).
        reward_mean: mean over responses, each once.
        reward_std: their unbiased standard deviation.
    """

    prompts: int
    responses: int
    accuracy: Accuracy
    by_strength: Mapping[str, Accuracy]
    loss: float
    loss_with_margin: float
    mean_chosen: float
    mean_rejected: float
    margin_mean: float
    margin_std: float
    margin_quantiles: Mapping[str, float]
    reward_mean: float
    reward_std: float

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def evaluate(comparisons: Sequence[Paired], rewards: Rewards, *, seed: int = 0) -> Evaluation:
    """Figures from rewards; every mean is over examples, not over batches.

    Args:
        comparisons: at least one with a pair.
        rewards: one per response of each comparison.
        seed: of the bootstrap.

    Raises:
        DataError: there is no pair.
    """
    table = pair_table(comparisons, rewards)
    if not table.pairs:
        raise DataError("there is no pair of responses to evaluate on")
    gap, keys = table.gap, table.keys
    owners = list(zip(table.owners, table.pairs, strict=True))
    chosen = np.array([rewards[at][pair.chosen] for at, pair in owners], dtype=np.float64)
    rejected = np.array([rewards[at][pair.rejected] for at, pair in owners], dtype=np.float64)
    asked = np.array([pair.margin for pair in table.pairs], dtype=np.float64)
    strengths = np.array([pair.strength or "" for pair in table.pairs])
    each = np.concatenate([np.asarray(given, dtype=np.float64) for given in rewards])
    return Evaluation(
        prompts=len(set(keys)),
        responses=len(each),
        accuracy=accuracy_of(gap, keys, seed=seed),
        by_strength={
            grade: found
            for grade in STRENGTHS
            if (found := accuracy_where(gap, keys, strengths == grade, seed=seed)) is not None
        },
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
        reward_mean=float(each.mean()),
        reward_std=float(each.std(ddof=1)) if len(each) > 1 else 0.0,
    )
