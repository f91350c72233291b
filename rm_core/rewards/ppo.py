"""PPO rewards from selected ones: whitened by statistics, less the KL penalty (design.md §2.3–5).

The caller brings the stream's statistics and the ids that it has counted, and takes away what is to
be merged.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from rm_core.errors import InputError
from rm_core.rewards.clipping import RewardClip, clip_reward
from rm_core.rewards.groups import members, whiten_groups
from rm_core.rewards.kl import DEFAULT_KL_CLIP, KLEstimator, TokenKL, token_kl
from rm_core.rewards.rule import ScoredResponse
from rm_core.rewards.shaping import DEFAULT_BETA, Shaped, shape
from rm_core.rewards.whitening import Statistics, admissible, statistics_of, whiten

WhitenMode = Literal["running", "frozen", "batch", "group", "none"]
"""Whose statistics whiten: the stream's with this request merged, the stream's as they are, this
request's, each group's, or nobody's."""


@dataclass(frozen=True, slots=True)
class ShapingOptions:
    """How a request's selected rewards become PPO rewards.

    Attributes:
        mode: whose statistics whiten.
        shift_mean: False scales and leaves the mean where it was.
        beta: coefficient of the KL penalty, reward units per nat.
        missing_eos_penalty: taken off a sample that was not finished.
        reward_clip: bound of the whitened reward; None: off.
    """

    mode: WhitenMode = "running"
    shift_mean: bool = True
    beta: float = DEFAULT_BETA
    missing_eos_penalty: float = 0.0
    reward_clip: RewardClip = None


@dataclass(frozen=True, slots=True)
class KlInput:
    """The trainer's log-probabilities of one response's sampled tokens, natural log.

    Attributes:
        logprobs: ln π_θ, (tokens,).
        ref_logprobs: ln π_0 of the same tokens, (tokens,).
        mask: True where a token counts, (tokens,); None: all count.
    """

    logprobs: Sequence[float]
    ref_logprobs: Sequence[float]
    mask: Sequence[bool | int] | None = None


@dataclass(frozen=True, slots=True)
class PpoSample:
    """One scored response on its way to a shaped reward.

    Attributes:
        index: its place in the request.
        scored_response: rewards, scores and the selection.
        kl: per-token estimates; None where no log-probabilities came.
        finished: what the caller said; None: nothing.
        id: counts once in its stream; None: always counts.
        group: which samples belong together in group mode.
        text: digest of what was scored; None where nobody compares it.
    """

    index: int
    scored_response: ScoredResponse
    kl: TokenKL | None
    finished: bool | None
    id: str | int | None
    group: Hashable
    text: bytes | None = None


@dataclass(frozen=True, slots=True)
class NewSamples:
    """What a request adds to its stream.

    Attributes:
        statistics: of the samples that count.
        num_samples: how many they are.
        new_items: their ids, each once, and the digests of their texts.
        duplicates: indices of samples whose id was counted before, here or in the stream.
        conflicts: indices of those whose id was counted with another text; they are no duplicates.
    """

    statistics: Statistics = field(default_factory=Statistics)
    num_samples: int = 0
    new_items: Mapping[str, bytes | None] = field(default_factory=dict)
    duplicates: frozenset[int] = frozenset()
    conflicts: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class GroupSummary:
    """One group's samples and their statistics."""

    group: Hashable
    indices: tuple[int, ...]
    statistics: Statistics


@dataclass(frozen=True, slots=True)
class ShapedSample:
    """One sample's way from the logit to the shaped reward.

    Attributes:
        sample: what is shaped.
        whitened: within `reward_clip`.
        is_clipped: whether that acted.
        shaped: the reward, per token and per sequence.
        warnings: names of what one should know of it.
    """

    sample: PpoSample
    whitened: float
    is_clipped: bool
    shaped: Shaped
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shaping:
    """A request's outcomes and the statistics that whitened them.

    Attributes:
        outcomes: one per sample, in order.
        statistics: of the stream or the batch; empty in group mode and without whitening.
        scaled: False where any sample passed unscaled (always without whitening).
        groups: of group mode.
    """

    outcomes: tuple[ShapedSample, ...]
    statistics: Statistics
    scaled: bool
    groups: tuple[GroupSummary, ...] = ()

    @property
    def num_kl_clipped(self) -> int:
        """Tokens whose KL estimate `kl_clip` bounded."""
        kls = (outcome.sample.kl for outcome in self.outcomes)
        return sum(kl.num_clipped for kl in kls if kl is not None)

    @property
    def num_reward_clipped(self) -> int:
        """Samples whose whitened reward was bounded."""
        return sum(outcome.is_clipped for outcome in self.outcomes)


def id_text(identifier: str | int) -> str:
    """An id as streams count it: 7 and "7" are the same."""
    return str(identifier)


def sequence_kl(
    given: KlInput, estimator: KLEstimator, *, clip: float | None = DEFAULT_KL_CLIP
) -> TokenKL:
    """One response's per-token KL estimates; `clip` as for `token_kl`.

    Raises:
        ShapeMismatch: the lists differ in length; `field` names the one that differs.
        InputError: no token is left to carry the reward.
    """
    kl = token_kl(
        given.logprobs, given.ref_logprobs, estimator=estimator, mask=given.mask, clip=clip
    )
    if not kl.mask.any():
        raise InputError(
            "no token counts, so that none can carry the reward; send at least one, unmasked",
            field="logprobs" if len(kl.mask) == 0 else "mask",
        )
    return kl


def has_finite_logit(scored_response: ScoredResponse) -> bool:
    """Whether the selected reward may enter statistics."""
    return bool(admissible(np.asarray([scored_response.logit]))[0])


def new_samples(
    samples: Sequence[PpoSample],
    counted: Mapping[str, bytes | None],
    *,
    half_life: float | None = None,
) -> NewSamples:
    """What the samples, the oldest first, add to a stream that has counted these ids already.

    Args:
        samples: of one request, with finite logits.
        counted: ids of the stream, and the digest of each one's text; None: any text may be it.
        half_life: the stream's, in samples; None forgets nothing.
    """
    seen = dict(counted)
    values: list[float] = []
    new_items: dict[str, bytes | None] = {}
    duplicates: set[int] = set()
    conflicts: set[int] = set()
    for sample in samples:
        if sample.id is not None:
            own = id_text(sample.id)
            if own in seen:
                known = seen[own]
                is_other = None not in (known, sample.text) and known != sample.text
                (conflicts if is_other else duplicates).add(sample.index)
                continue
            seen[own] = new_items[own] = sample.text
        values.append(sample.scored_response.logit)
    statistics = statistics_of(values, half_life=half_life)
    return NewSamples(
        statistics, len(values), new_items, frozenset(duplicates), frozenset(conflicts)
    )


def shape_samples(
    samples: Sequence[PpoSample], options: ShapingOptions, statistics: Statistics
) -> Shaping:
    """Whiten and shape a request's samples.

    Args:
        samples: with finite logits.
        options: of the request.
        statistics: the stream's, this request already merged in running mode; read in the modes
            running and frozen only.
    """
    logits = [sample.scored_response.logit for sample in samples]
    mode, shift_mean = options.mode, options.shift_mean
    groups: tuple[GroupSummary, ...] = ()
    used = Statistics()
    if mode == "group":
        keys = [sample.group for sample in samples]
        by_group = whiten_groups(logits, keys, shift_mean=shift_mean)
        values, scaled = by_group.values, by_group.scaled
        groups = tuple(
            GroupSummary(key, tuple(samples[i].index for i in positions), by_group.statistics[key])
            for key, positions in members(keys)
        )
    elif mode == "none":
        values, scaled = np.asarray(logits, np.float64), np.zeros(len(logits), np.bool_)
    else:
        used = statistics_of(logits) if mode == "batch" else statistics
        result = whiten(logits, used, shift_mean=shift_mean)
        values, scaled = result.values, np.full(len(logits), result.scaled)
    outcomes = tuple(
        _shaped(sample, float(value), options, unscaled=mode != "none" and not known)
        for sample, value, known in zip(samples, values, scaled, strict=True)
    )
    return Shaping(outcomes, used, bool(scaled.all()), groups)


def _shaped(
    sample: PpoSample, whitened: float, options: ShapingOptions, *, unscaled: bool
) -> ShapedSample:
    bounded = clip_reward(whitened, options.reward_clip)
    shaped = shape(
        bounded,
        sample.kl,
        beta=options.beta,
        missing_eos_penalty=options.missing_eos_penalty if sample.finished is False else 0.0,
    )
    warnings = (
        ("no_logprobs", sample.kl is None),
        ("kl_clamped", sample.kl is not None and sample.kl.num_clamped > 0),
        ("kl_clipped", sample.kl is not None and sample.kl.num_clipped > 0),
        ("reward_clipped", bounded != whitened),
        ("unscaled", unscaled),
    )
    names = tuple(name for name, holds in warnings if holds)
    return ShapedSample(sample, bounded, bounded != whitened, shaped, names)
