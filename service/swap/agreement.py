"""How far two versions of the models agree on the same responses."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rm_client.models_admin import ModelAgreement, SwapAgreement
from rm_core.rewards.rule import ScoredResponse

Values = np.ndarray[Any, np.dtype[np.float64]]


def agreement_of(
    before: Sequence[ScoredResponse], after: Sequence[ScoredResponse], *, num_failed: int
) -> SwapAgreement:
    """Compare what two versions made of the same responses.

    Args:
        before: by the version that serves; (items,), at least one.
        after: by the other one; (items,).
        num_failed: responses that the other one can't score, which are not among these.
    """
    names = before[0].calibrated
    models = {
        name: compare([one.calibrated[name] for one in before], [o.calibrated[name] for o in after])
        for name in names
    }
    has_selection = before[0].selected is not None
    same = [own.selected == other.selected for own, other in zip(before, after, strict=True)]
    return SwapAgreement(
        num_items=len(before),
        num_failed=num_failed,
        models=models,
        selected=compare([o.logit for o in before], [o.logit for o in after])
        if has_selection
        else None,
        same_selection=sum(same) / len(same) if has_selection else None,
    )


def compare(before: Sequence[float], after: Sequence[float]) -> ModelAgreement:
    """Compare two versions' rewards; (items,) each, finite, at least one."""
    old, new = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    share, pairs = _order_agreement(old, new)
    return ModelAgreement(
        order_agreement=share,
        num_pairs=pairs,
        correlation=_correlation(old, new),
        mean_before=float(old.mean()),
        mean_after=float(new.mean()),
        std_before=float(old.std()),
        std_after=float(new.std()),
        max_difference=float(np.abs(new - old).max()),
    )


def _order_agreement(old: Values, new: Values) -> tuple[float | None, int]:
    first, second = np.triu_indices(len(old), 1)
    was, becomes = np.sign(old[first] - old[second]), np.sign(new[first] - new[second])
    told = was != 0.0
    pairs = int(told.sum())
    if not pairs:
        return None, 0
    kept = (was == becomes) + 0.5 * (becomes == 0.0)
    return float(kept[told].mean()), pairs


def _correlation(old: Values, new: Values) -> float | None:
    """Pearson's; None where either version gives all the same reward."""
    if np.ptp(old) == 0.0 or np.ptp(new) == 0.0:
        return None
    return float(np.clip(np.corrcoef(old, new)[0, 1], -1.0, 1.0))
