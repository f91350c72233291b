"""Responses of a reference policy, and where a model's calibrated rewards lie on them.

The baseline (mean, std, n₀) is what WHITEN starts a new stream from; the quantiles are what the
service tells drift by. Both need samples of a policy, not preferences.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rm_core.types import Baseline, ReferenceQuantiles
from training.calibration.readers import Reader
from training.data.formats import read_records
from training.errors import DataError
from training.evaluation.scorer import Candidate, Reading, Refusal, candidates_of
from training.statistics.intervals import Floats

PROBABILITIES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
MIN_RESPONSES = 20
"""Fewer give no quantiles; a quantile is kept where at least one response lies beyond it."""


@dataclass(frozen=True, slots=True)
class ReferenceRewards:
    """Raw rewards of reference responses.

    Attributes:
        rewards: raw, (responses,).
        source: which responses they are, for a person to read.
    """

    rewards: Floats
    source: str


def heldout_rewards(rewards: Floats) -> ReferenceRewards:
    """The held-out responses as references, where no samples of a policy were given."""
    return ReferenceRewards(
        rewards,
        f"the {len(rewards)} held-out responses; they were not sampled from a policy, so the "
        "weight is kept small",
    )


def read_references(places: Sequence[str]) -> list[Candidate]:
    """Responses of a reference policy.

    Args:
        places: files of `{"prompt", "responses"}` (or `"response"`); rankings are not looked at.

    Raises:
        DataError: a place can't be read or holds no response.
    """
    if not places:
        return []
    records = read_records(list(places)).records
    return [candidate for record in records for candidate in candidates_of(record)]


def reference_rewards(
    candidates: Sequence[Candidate], places: Sequence[str], read: Reader
) -> ReferenceRewards:
    """Score responses of a reference policy, read from `places`.

    Raises:
        DataError: none of them can be scored.
    """
    readings = read(candidates)
    rewards = np.array([r.reward for r in readings if isinstance(r, Reading)], dtype=np.float64)
    refused = Counter(r.reason for r in readings if isinstance(r, Refusal))
    why = ", ".join(f"{count} × {reason}" for reason, count in sorted(refused.items()))
    names = ", ".join(places)
    if not len(rewards):
        raise DataError(f"no reference response in {names} can be scored: {why or 'there is none'}")
    left_out = f"; not scored: {why}" if why else ""
    return ReferenceRewards(rewards, f"{len(rewards)} reference responses from {names}{left_out}")


def baseline_of(rewards: Floats, *, weight: float) -> Baseline | None:
    """Mean and unbiased deviation of calibrated rewards; None where they don't spread.

    It counts for `weight` (n₀) samples, and never for more than there are.
    """
    std = float(rewards.std(ddof=1)) if len(rewards) > 1 else 0.0
    if not std > 0:
        return None
    return Baseline(float(rewards.mean()), std, min(weight, float(len(rewards))))


def quantiles_of(rewards: Floats) -> ReferenceQuantiles | None:
    """Quantiles of calibrated rewards; None for fewer than 20, or where they don't spread.

    Where many rewards are equal, a quantile stands with the share that really lies up to it, so
    that the references themselves show no drift.
    """
    count = len(rewards)
    if count < MIN_RESPONSES:
        return None
    # 1 % of fifty responses is a guess at their minimum.
    wanted = [p for p in PROBABILITIES if count * min(p, 1 - p) >= 1 - 1e-9]
    kept: list[tuple[float, float]] = []
    for probability, value in zip(wanted, np.quantile(rewards, wanted).tolist(), strict=True):
        share = float(np.mean(rewards <= value))
        if share < 1 and abs(share - probability) * count <= 1 + 1e-9:
            share = probability
        if share < 1 and (not kept or (share > kept[-1][0] and value > kept[-1][1])):
            kept.append((share, value))
    if not kept:
        return None
    return ReferenceQuantiles(tuple(p for p, _ in kept), tuple(v for _, v in kept), count)
