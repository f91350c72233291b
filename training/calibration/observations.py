"""What calibration looks at: reward gaps of held-out pairs, and rewards with `is_safe` labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.data.examples import Example
from training.evaluation.rewards import Rewards, labelled, pair_table
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
        """Pairs and labels of the `kept` prompts, (num_prompts,); rewards stay as they are."""
        pairs, labels = kept[self.pairs.prompt], kept[self.labels.prompt]
        return Observations(
            Pairs(self.pairs.gap[pairs], self.pairs.prompt[pairs]),
            Labels(
                self.labels.reward[labels], self.labels.is_safe[labels], self.labels.prompt[labels]
            ),
            self.rewards,
            self.num_prompts,
        )


def observations_of(examples: Sequence[Example], rewards: Rewards) -> Observations:
    """Arrays from the examples of one split and their raw rewards."""
    keys = sorted({example.prompt_key for example in examples})
    number = {key: index for index, key in enumerate(keys)}

    def prompts(own: Sequence[str]) -> Ints:
        return np.array([number[key] for key in own], dtype=np.int64)

    pairs = pair_table(examples, rewards)
    reward, is_safe, of = labelled(examples, rewards, lambda example, index: example.is_safe[index])
    return Observations(
        Pairs(pairs.gap, prompts(pairs.keys)),
        Labels(reward, is_safe == 1.0, prompts(of)),
        np.array([reward for given in rewards for reward in given], dtype=np.float64),
        len(keys),
    )
