"""Rewards beside examples: gaps of their pairs, and labels with rewards, as arrays.

Rewards are never in examples: one list of examples serves every model, and rewards are one sequence
per example with one number per response.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from training.data.examples import Example, Pair
from training.statistics.intervals import Floats

Rewards = Sequence[Sequence[float]]
"""One sequence per example, one reward per response."""


class PairTable(NamedTuple):
    """All pairs of all examples in a row.

    Attributes:
        gap: reward of the chosen less that of the rejected, (pairs,).
        keys: each pair's prompt.
        owners: index of each pair's example, (pairs,), int.
        pairs: the pairs themselves.
    """

    gap: Floats
    keys: list[str]
    owners: "np.ndarray[Any, np.dtype[np.int64]]"
    pairs: list[Pair]


def pair_table(examples: Sequence[Example], rewards: Rewards) -> PairTable:
    """The pairs of examples with their reward gaps."""
    gaps: list[float] = []
    keys: list[str] = []
    owners: list[int] = []
    pairs: list[Pair] = []
    for index, (example, given) in enumerate(zip(examples, rewards, strict=True)):
        for pair in example.pairs:
            gaps.append(given[pair.chosen] - given[pair.rejected])
            keys.append(example.prompt_key)
            owners.append(index)
            pairs.append(pair)
    return PairTable(
        np.array(gaps, dtype=np.float64), keys, np.array(owners, dtype=np.int64), pairs
    )


def labelled(
    examples: Sequence[Example],
    rewards: Rewards,
    label_of: Callable[[Example, int], float | None],
) -> tuple[Floats, Floats, list[str]]:
    """Rewards, labels and prompts of all responses that have a label.

    `label_of` tells it by an example and the index of its response; None for none.
    """
    found = [
        (reward, label, example.prompt_key)
        for example, given in zip(examples, rewards, strict=True)
        for index, reward in enumerate(given)
        if (label := label_of(example, index)) is not None
    ]
    values = np.array([(reward, label) for reward, label, _ in found], dtype=np.float64)
    columns = values.reshape(-1, 2)
    return columns[:, 0], columns[:, 1], [key for *_, key in found]


def length_of(text: str) -> int:
    """A response's length in characters: the same for every model, whatever its tokenizer."""
    return len(text)
