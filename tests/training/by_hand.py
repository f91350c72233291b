"""The loss of an update written out: every response alone, every formula in its plainest form."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from training.config import TrainingConfig
from training.data.examples import EncodedExample, Pair


def unevenly_known(examples: Sequence[EncodedExample]) -> list[EncodedExample]:
    """Comparisons of two, one fewer: of some less is known, of some more, and one ranks three."""
    first, second, third, *others = examples
    ranked = replace(
        first,
        responses=(*first.responses, second.responses[0]),
        encoded=(*first.encoded, second.encoded[0]),
        pairs=tuple(Pair(i, j) for i, j in combinations(range(3), 2)),
        ranking=(0, 1, 2),
        is_safe=(*first.is_safe, None),
        ratings=(1.5, None, -0.5),
    )
    alone = replace(
        third,
        responses=third.responses[:1],
        encoded=third.encoded[:1],
        pairs=(),
        ranking=None,
        is_safe=third.is_safe[:1],
        ratings=(0.25,),
    )
    return [
        ranked,
        alone,
        *(
            replace(each, is_safe=(None, None)) if index % 2 else replace(each, ratings=(1.0, -2.0))
            for index, each in enumerate(others)
        ),
    ]


def loss_by_hand(model: Any, examples: Sequence[EncodedExample], config: TrainingConfig) -> Tensor:
    """Σ_k λ_k · (Σ w ℓ / Σ w) of objectives on whole responses."""
    rewards = [
        [_reward(model, encoded, config.head) for encoded in each.encoded] for each in examples
    ]
    loss = torch.zeros(())
    for name, weight in config.weights.items():
        terms = [
            pair
            for each, given in zip(examples, rewards, strict=True)
            for pair in _terms(name, each, given, config.pair_weighting)
        ]
        loss = loss + weight * sum(w * term for w, term in terms) / sum(w for w, _ in terms)
    return loss


def _reward(model: Any, encoded: Any, head: str) -> Tensor:
    ids = torch.tensor([encoded.input_ids])
    if head == "last_token":
        return model(input_ids=ids).logits[0, 0]
    hidden = model.model(input_ids=ids).last_hidden_state[0, encoded.num_prompt_tokens :]
    return model.score(hidden.mean(dim=0))[0]  # the head of the mean hidden state


def _terms(
    name: str, example: EncodedExample, rewards: Sequence[Tensor], pair_weighting: str
) -> list[tuple[float, Tensor]]:
    """Every term of an objective in one example, with its weight."""
    pairs = [(rewards[p.chosen], rewards[p.rejected], p.margin) for p in example.pairs]
    if name in _OF_PAIRS:
        share = 1 / len(pairs) if pairs and pair_weighting == "prompt" else 1.0
        return [(share, _OF_PAIRS[name](c, r, m)) for c, r, m in pairs]
    if name == "safety_auxiliary":
        labelled = zip(rewards, example.is_safe, strict=True)
        return [(1, -torch.sigmoid(r if y else -r).log()) for r, y in labelled if y is not None]
    if name == "regression":
        rated = zip(rewards, example.ratings, strict=True)
        return [(1, (r - y) ** 2) for r, y in rated if y is not None]
    if name == "l2":
        return [(1, r**2) for r in rewards]
    return [(1, _OF_RANKINGS[name](example, rewards))] if pairs else []


def _kwise(example: EncodedExample, rewards: Sequence[Tensor]) -> Tensor:
    losses = [-torch.sigmoid(rewards[p.chosen] - rewards[p.rejected]).log() for p in example.pairs]
    return sum(losses, torch.zeros(())) / len(losses)


def _listnet(example: EncodedExample, rewards: Sequence[Tensor]) -> Tensor:
    relevance = [math.exp(-rank) for rank in (example.ranking or ())]
    found = [reward.exp() for reward in rewards]
    shares = zip(relevance, found, strict=True)
    return -sum(y / sum(relevance) * (r / sum(found)).log() for y, r in shares)


def _plackett_luce(example: EncodedExample, rewards: Sequence[Tensor]) -> Tensor:
    by_rank = sorted(zip((example.ranking or ()), rewards, strict=True), key=lambda each: each[0])
    best_first = [reward.exp() for _, reward in by_rank]
    return -sum((best_first[i] / sum(best_first[i:])).log() for i in range(len(best_first)))


_OF_PAIRS: dict[str, Any] = {
    "bradley_terry": lambda c, r, m: -torch.sigmoid(c - r - m).log(),
    "hinge": lambda c, r, m: (1 + m - c + r).clamp(min=0),
    "centering": lambda c, r, _: (c + r) ** 2,
}
_OF_RANKINGS: dict[str, Any] = {
    "kwise": _kwise,
    "listnet": _listnet,
    "plackett_luce": _plackett_luce,
}
