"""Responses of a reference policy, and where a model's calibrated rewards lie on them.

The baseline (mean, std, n₀) is what WHITEN starts a new stream from; the quantiles are what the
service tells drift by. Both need samples of a policy, not preferences.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rm_core.errors import InputError
from rm_core.text import TextEncoder
from rm_core.types import Baseline, Dialogue, Encoded, ReferenceQuantiles, Truncation
from training.calibration.observations import FloatArray
from training.comparisons import Comparison, prompt_key, prompt_text
from training.errors import DataError
from training.evaluation import score_comparisons
from training.formats import read_records

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

    rewards: FloatArray
    source: str


def heldout_rewards(rewards: FloatArray) -> ReferenceRewards:
    """The held-out responses as references, where no samples of a policy were given."""
    return ReferenceRewards(
        rewards,
        f"the {len(rewards)} held-out responses; they were not sampled from a policy, so the "
        "weight is kept small",
    )


def reference_rewards(
    paths: Sequence[Path],
    encoder: TextEncoder,
    model: Any,
    *,
    pad_token_id: int,
    truncate: Truncation = "error",
) -> ReferenceRewards:
    """Read and score responses of a reference policy.

    Args:
        paths: files of `{"prompt", "responses"}` (or `"response"`); rankings are not looked at.
        encoder: the model's position contract.
        model: sequence-classification model with one label.
        pad_token_id: the model's pad token.
        truncate: what to do with a text that is too long: leave it out, or cut its prompt's left.

    Raises:
        DataError: the files can't be read, or none of their responses can be scored.
    """
    comparisons, skipped = [], 0
    for record in read_records(paths).records:
        encoded: list[Encoded] = []
        for response in record.responses:
            dialogue = Dialogue(record.prompt, response, allow_empty=True)
            try:
                encoded.append(encoder.encode(dialogue, truncate=truncate))
            except InputError:
                skipped += 1
        text = prompt_text(record.prompt)
        comparisons.append(
            Comparison(
                id=record.id,
                prompt_key=prompt_key(record.prompt),
                prompt=text,
                responses=("",) * len(encoded),
                encoded=tuple(encoded),
                pairs=(),
                is_safe=(None,) * len(encoded),
            )
        )
    names = ", ".join(str(path) for path in paths)
    if not any(comparison.encoded for comparison in comparisons):
        raise DataError(f"no response in {names} can be scored; check the prompts and their length")
    given = score_comparisons(model, comparisons, pad_token_id=pad_token_id)
    rewards = np.array([reward for own in given for reward in own], dtype=np.float64)
    left_out = f"; {skipped} more could not be encoded" if skipped else ""
    return ReferenceRewards(rewards, f"{len(rewards)} reference responses from {names}{left_out}")


def baseline_of(rewards: FloatArray, *, weight: float) -> Baseline | None:
    """Mean and unbiased deviation of calibrated rewards; None where they don't spread.

    Args:
        rewards: calibrated, (responses,).
        weight: n₀, how many samples the baseline counts for; never more than there are.
    """
    std = float(rewards.std(ddof=1)) if len(rewards) > 1 else 0.0
    if not std > 0:
        return None
    return Baseline(float(rewards.mean()), std, min(weight, float(len(rewards))))


def quantiles_of(rewards: FloatArray) -> ReferenceQuantiles | None:
    """Quantiles of calibrated rewards; None for fewer than 20, or where they don't spread.

    Where many rewards are equal, a quantile stands with the share that really lies up to it, so
    that the references themselves show no drift.

    Args:
        rewards: calibrated, (responses,).
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
