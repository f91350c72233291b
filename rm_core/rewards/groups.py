"""Rewards relative to the other responses of the same prompt: GRPO and leave-one-out."""

from collections.abc import Hashable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rm_core.rewards.arrays import BoolArray, FloatArray, FloatsLike, as_floats, require_length
from rm_core.rewards.whitening import DEFAULT_EPS, Statistics, admissible, statistics_of, whiten

Group = tuple[Hashable, NDArray[np.intp]]

AdvantageKind = Literal["grpo", "grpo_no_std", "rloo"]
"""How rewards become advantages; see `advantages_of`."""

DEGENERATE_STD = DEFAULT_EPS**0.5
"""Below this deviation eps, and not the rewards, sets the scale of whitened values."""


class GroupWhitened(NamedTuple):
    """Values whitened within their groups.

    Attributes:
        values: (n,), float64; NaN where the input was not finite.
        scaled: False where the value's group held fewer than two finite values, (n,), bool.
        statistics: of each group, by its key, in order of first appearance.
    """

    values: FloatArray
    scaled: BoolArray
    statistics: dict[Hashable, Statistics]


def members(groups: Sequence[Hashable]) -> Iterator[Group]:
    """Each group's key with the indices of its members, in order of first appearance."""
    by_key: dict[Hashable, list[int]] = {}
    for index, key in enumerate(groups):
        by_key.setdefault(key, []).append(index)
    for key, indices in by_key.items():
        yield key, np.asarray(indices, dtype=np.intp)


def whiten_groups(
    values: FloatsLike,
    groups: Sequence[Hashable],
    *,
    shift_mean: bool = True,
    eps: float = DEFAULT_EPS,
) -> GroupWhitened:
    """Each value on the scale of its own group.

    (x − mean_g) / √(variance_g + eps), plus mean_g where `shift_mean` is False

    A value that is alone in its group deviates from nothing: it becomes 0 (its own value without
    `shift_mean`) and is marked unscaled, where a raw reward among advantages would mislead.

    Args:
        values: rewards, (n,).
        groups: the prompt that each belongs to, n keys.
        shift_mean: see `rm_core.rewards.whiten`.
        eps: added to the variance, > 0.

    Returns:
        Values, marks and statistics per group.

    Raises:
        ShapeMismatch: `groups` has another length than `values`.
    Source: outcome-supervised GRPO, DeepSeekMath, arXiv:2402.03300 §4.1.2, with the unbiased
    variance and eps under the root as everywhere in this package.
    """
    given = as_floats(values, "values")
    require_length(len(groups), len(given), "groups", "values")
    whitened = np.full(len(given), np.nan)
    scaled = np.zeros(len(given), dtype=np.bool_)
    statistics: dict[Hashable, Statistics] = {}
    for key, indices in members(groups):
        own = statistics_of(given[indices])
        result = whiten(given[indices], own, shift_mean=shift_mean, eps=eps)
        alone = not result.scaled and shift_mean
        whitened[indices] = result.values - own.mean if alone else result.values
        scaled[indices] = result.scaled
        statistics[key] = own
    return GroupWhitened(whitened, scaled, statistics)


def group_advantages(
    values: FloatsLike, groups: Sequence[Hashable], *, eps: float = DEFAULT_EPS
) -> FloatArray:
    """GRPO's advantages, (n,): `whiten_groups` with its mean taken out."""
    return whiten_groups(values, groups, eps=eps).values


def centred_advantages(values: FloatsLike, groups: Sequence[Hashable]) -> FloatArray:
    """Each reward less its group's mean: r_i − mean, (n,).

    Dividing by the deviation would give easy and hard prompts, whose rewards hardly differ, the
    weight of all others.

    Raises:
        ShapeMismatch: `groups` has another length than `values`.
    Source: Dr. GRPO, Liu et al. 2025, arXiv:2503.20783.
    """
    given = as_floats(values, "values")
    require_length(len(groups), len(given), "groups", "values")
    advantages = np.full(len(given), np.nan)
    for _, indices in members(groups):
        kept = np.where(admissible(given[indices]), given[indices], np.nan)
        advantages[indices] = kept - statistics_of(given[indices]).mean
    return advantages


def leave_one_out_advantages(values: FloatsLike, groups: Sequence[Hashable]) -> FloatArray:
    """Each reward less the mean of the others in its group.

    A_i = r_i − (Σ_{j≠i} r_j) / (G − 1) = (r_i − mean) · G / (G − 1)

    Args:
        values: rewards, (n,).
        groups: the prompt that each belongs to, n keys.

    Returns:
        (n,), float64; 0 for a value that is alone, NaN for one that is not finite.

    Raises:
        ShapeMismatch: `groups` has another length than `values`.
    Source: RLOO, Kool et al. 2019; Ahmadian et al. 2024, arXiv:2402.14740 §3.
    """
    given = as_floats(values, "values")
    require_length(len(groups), len(given), "groups", "values")
    advantages = np.full(len(given), np.nan)
    for _, indices in members(groups):
        own = statistics_of(given[indices])
        kept = np.where(admissible(given[indices]), given[indices], np.nan)
        factor = own.count / (own.count - 1.0) if own.count >= 2.0 else 1.0
        advantages[indices] = (kept - own.mean) * factor
    return advantages


def advantages_of(
    values: FloatsLike, groups: Sequence[Hashable], kind: AdvantageKind
) -> FloatArray:
    """Advantages of rewards within their groups, (n,).

    Args:
        values: rewards, (n,).
        groups: the prompt that each belongs to, n keys.
        kind: "grpo" for `group_advantages`, "grpo_no_std" for `centred_advantages`, "rloo" for
            `leave_one_out_advantages`.

    Raises:
        ShapeMismatch: `groups` has another length than `values`.
    """
    if kind == "grpo":
        return group_advantages(values, groups)
    if kind == "grpo_no_std":
        return centred_advantages(values, groups)
    return leave_one_out_advantages(values, groups)
