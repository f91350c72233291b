"""How well rewards order held-out pairs, with the uncertainty that the sample size leaves.

`score_comparisons` runs the model; everything else is arithmetic on its rewards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm

from rm_core.types import Encoded
from training.collator import pad_right
from training.comparisons import Comparison
from training.errors import TrainingDiverged
from training.records import STRENGTHS

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % confidence interval."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Share of pairs whose chosen response got the higher reward; equal rewards count half.

    Attributes:
        value: the share.
        pairs: how many pairs it is over.
        ties: pairs with exactly equal rewards.
        wilson: interval that takes pairs for independent.
        bootstrap: interval from resampling whole prompts, which they come in.
    """

    value: float
    pairs: int
    ties: int
    wilson: Interval
    bootstrap: Interval

    @property
    def excludes_chance(self) -> bool:
        """Whether 50 % lies outside the interval by prompts."""
        return not self.bootstrap.low <= 0.5 <= self.bootstrap.high


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures on one split.

    Attributes:
        prompts: different prompts.
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


def score_comparisons(
    model: Any, comparisons: Sequence[Comparison], *, pad_token_id: int, batch_tokens: int = 16_384
) -> list[tuple[float, ...]]:
    """Rewards of every response, by transformers' own forward in the model's precision.

    Args:
        model: sequence-classification model with one label.
        comparisons: encoded responses.
        pad_token_id: the model's pad token.
        batch_tokens: most tokens in one forward pass, padding included.

    Returns:
        For each comparison, one reward per response, in order.

    Raises:
        TrainingDiverged: a reward is not finite.
    """
    flat = [encoded for comparison in comparisons for encoded in comparison.encoded]
    rewards = [0.0] * len(flat)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for batch in _batches(flat, batch_tokens):
            inputs = pad_right([flat[index] for index in batch], pad_token_id)
            output = model(**{name: tensor.to(device) for name, tensor in inputs.items()})
            values = output.logits.float().squeeze(-1).tolist()
            for index, value in zip(batch, values, strict=True):
                rewards[index] = value
    model.train(was_training)
    if not np.isfinite(rewards).all():
        raise TrainingDiverged("the trained model gives rewards that are not finite")
    remaining = iter(rewards)
    return [tuple(next(remaining) for _ in c.encoded) for c in comparisons]


def evaluate(
    comparisons: Sequence[Comparison], rewards: Sequence[Sequence[float]], *, seed: int = 0
) -> Evaluation:
    """Figures from rewards; every mean is over examples, not over batches.

    Args:
        comparisons: at least one, with at least one pair.
        rewards: one per response of each comparison.
        seed: of the bootstrap.
    """
    pairs = [
        (comparison, given[pair.chosen], given[pair.rejected], pair)
        for comparison, given in zip(comparisons, rewards, strict=True)
        for pair in comparison.pairs
    ]
    chosen = np.array([c for _, c, _, _ in pairs], dtype=np.float64)
    rejected = np.array([r for _, _, r, _ in pairs], dtype=np.float64)
    asked = np.array([pair.margin for _, _, _, pair in pairs], dtype=np.float64)
    keys = [comparison.prompt_key for comparison, _, _, _ in pairs]
    strengths = np.array([pair.strength or "" for _, _, _, pair in pairs])
    gap = chosen - rejected
    each = np.concatenate([np.asarray(given, dtype=np.float64) for given in rewards])
    return Evaluation(
        prompts=len(set(keys)),
        responses=len(each),
        accuracy=accuracy_of(gap, keys, seed=seed),
        by_strength={
            grade: accuracy_of(gap[at], [keys[i] for i in at], seed=seed)
            for grade in STRENGTHS
            if len(at := np.flatnonzero(strengths == grade))
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


def accuracy_of(gap: NDArray[np.float64], prompt_keys: Sequence[str], *, seed: int = 0) -> Accuracy:
    """Accuracy of reward gaps, with both intervals.

    Args:
        gap: r_c − r_r, (pairs,); 0 is a tie and counts half.
        prompt_keys: the prompt of each pair.
        seed: of the bootstrap.
    """
    credit = np.where(gap > 0, 1.0, np.where(gap == 0, 0.5, 0.0))
    return Accuracy(
        value=float(credit.mean()),
        pairs=len(gap),
        ties=int((gap == 0).sum()),
        wilson=wilson_interval(float(credit.sum()), len(gap)),
        bootstrap=bootstrap_interval(credit, prompt_keys, seed=seed),
    )


def wilson_interval(successes: float, trials: int, *, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a share; half successes are allowed.

    (p + z²/2n ± z·√(p(1−p)/n + z²/4n²)) / (1 + z²/n)

    Source: E. B. Wilson, JASA 22 (1927), 209–212.
    """
    z = float(norm.ppf(0.5 + confidence / 2))
    p = successes / trials
    centre = p + z * z / (2 * trials)
    spread = z * np.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return Interval(float((centre - spread) / scale), float((centre + spread) / scale))


def bootstrap_interval(
    credit: NDArray[np.float64], prompt_keys: Sequence[str], *, seed: int, confidence: float = 0.95
) -> Interval:
    """Percentile interval of the mean credit, resampling whole prompts.

    Pairs of one prompt share its responses, so resampling single pairs would feign certainty.

    Args:
        credit: per pair, (pairs,).
        prompt_keys: the prompt of each pair.
        seed: of the resampling.
        confidence: of the interval.
    """
    _, cluster = np.unique(np.asarray(prompt_keys), return_inverse=True)
    counts = np.bincount(cluster).astype(np.float64)
    sums = np.bincount(cluster, weights=credit)
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(
        len(counts), np.full(len(counts), 1 / len(counts)), size=_RESAMPLES
    )  # (resamples, prompts): how often each prompt was drawn
    means = (drawn @ sums) / (drawn @ counts)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(low), float(high))


def _batches(encoded: Sequence[Encoded], batch_tokens: int) -> list[list[int]]:
    """Indices in batches of similar length whose padded size stays within the budget."""
    order = sorted(range(len(encoded)), key=lambda index: -encoded[index].num_tokens)
    batches: list[list[int]] = []
    for index in order:
        longest = encoded[batches[-1][0]].num_tokens if batches else 0
        if batches and (len(batches[-1]) + 1) * longest <= batch_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
