"""What calibration looks at: reward gaps of held-out pairs, and rewards with `is_safe` labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.data.examples import Example
from training.statistics.intervals import Floats, Ints

BoolArray = NDArray[np.bool_]


class Pairs(NamedTuple):
    """Pairs of responses to one prompt.

    Attributes:
        gap: raw reward of the chosen less that of the rejected, (pairs,).
        prompt: number of the prompt that each pair is of, (pairs,).
    """

    gap: Floats
    prompt: Ints


class Labels(NamedTuple):
    """Responses that somebody labelled.

    Attributes:
        reward: raw rewards, (labels,).
        is_safe: (labels,).
        prompt: number of the prompt that each response is to, (labels,).
    """

    reward: Floats
    is_safe: BoolArray
    prompt: Ints

    @property
    def num_safe(self) -> int:
        """Responses labelled safe."""
        return int(self.is_safe.sum())

    @property
    def num_unsafe(self) -> int:
        """Responses labelled unsafe."""
        return len(self.is_safe) - self.num_safe


@dataclass(frozen=True, slots=True)
class Observations:
    """One split as calibration sees it.

    Attributes:
        pairs: every strict preference, each with the same weight.
        labels: every labelled response, once.
        rewards: raw reward of every response, (responses,).
        num_prompts: prompts are numbered from 0 to it.
    """

    pairs: Pairs
    labels: Labels
    rewards: Floats
    num_prompts: int

    def of_prompts(self, kept: BoolArray) -> "Observations":
        """Pairs and labels of some prompts only; rewards stay as they are.

        Args:
            kept: by prompt number, (num_prompts,).
        """
        pairs, labels = kept[self.pairs.prompt], kept[self.labels.prompt]
        return Observations(
            Pairs(self.pairs.gap[pairs], self.pairs.prompt[pairs]),
            Labels(
                self.labels.reward[labels], self.labels.is_safe[labels], self.labels.prompt[labels]
            ),
            self.rewards,
            self.num_prompts,
        )


def observations_of(
    labelled: Sequence[Example], rewards: Sequence[Sequence[float]]
) -> Observations:
    """Arrays from rewards and rewards.

    Args:
        labelled: of one split; those without pairs still give their labels.
        rewards: raw, one per response of each.
    """
    keys = sorted({own.prompt_key for own in labelled})
    number = {key: index for index, key in enumerate(keys)}
    pairs: list[tuple[float, int]] = []
    labels: list[tuple[float, bool, int]] = []
    for own, given in zip(labelled, rewards, strict=True):
        prompt = number[own.prompt_key]
        pairs += [(given[p.chosen] - given[p.rejected], prompt) for p in own.pairs]
        labels += [
            (reward, is_safe, prompt)
            for reward, is_safe in zip(given, own.is_safe, strict=True)
            if is_safe is not None
        ]
    return Observations(
        Pairs(
            np.array([gap for gap, _ in pairs], dtype=np.float64),
            np.array([prompt for _, prompt in pairs], dtype=np.int64),
        ),
        Labels(
            np.array([reward for reward, _, _ in labels], dtype=np.float64),
            np.array([is_safe for _, is_safe, _ in labels], dtype=np.bool_),
            np.array([prompt for _, _, prompt in labels], dtype=np.int64),
        ),
        np.array([reward for given in rewards for reward in given], dtype=np.float64),
        len(keys),
    )
