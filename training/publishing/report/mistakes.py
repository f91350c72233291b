"""The held-out pairs that the model orders wrong most confidently, for a person to read."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from training.data.examples import Example, Pair, prompt_text
from training.evaluation.rewards import Rewards
from training.types import Strength


@dataclass(frozen=True, slots=True)
class Mistake:
    """One pair ordered wrong.

    Attributes:
        id: the record's id.
        prompt: as text.
        chosen: the response that people preferred.
        rejected: the one that the model prefers.
        chosen_reward: raw.
        rejected_reward: raw.
        strength: by how much people preferred it; None where nobody said.
        chosen_safe: its label; None where unknown.
        rejected_safe: its label; None where unknown.
        tags: the prompt's.
    """

    id: str
    prompt: str
    chosen: str
    rejected: str
    chosen_reward: float
    rejected_reward: float
    strength: Strength | None
    chosen_safe: bool | None
    rejected_safe: bool | None
    tags: tuple[str, ...]

    @property
    def margin(self) -> float:
        """Reward of the chosen less that of the rejected response: below 0."""
        return self.chosen_reward - self.rejected_reward


@dataclass(frozen=True, slots=True)
class Mistakes:
    """The worst of all wrong pairs.

    Attributes:
        worst: the lowest margin first; of one prompt, its worst pair alone.
        wrong: pairs ordered wrong in all.
        prompts: prompts that these are of.
    """

    worst: tuple[Mistake, ...]
    wrong: int
    prompts: int


def worst_mistakes(examples: Sequence[Example], rewards: Rewards, *, most: int) -> Mistakes:
    """The pairs with the lowest margins, at most one of a prompt."""
    wrong = 0
    worst_of: dict[str, tuple[float, int, int]] = {}
    for margin, owner, number in _margins(examples, rewards):
        if margin < 0:
            wrong += 1
            found = (margin, owner, number)
            key = examples[owner].prompt_key
            worst_of[key] = min(worst_of.get(key, found), found)
    worst = heapq.nsmallest(most, worst_of.values())
    return Mistakes(
        tuple(
            _mistake(examples[owner], examples[owner].pairs[number], rewards[owner])
            for _, owner, number in worst
        ),
        wrong,
        len(worst_of),
    )


def _margins(examples: Sequence[Example], rewards: Rewards) -> Iterator[tuple[float, int, int]]:
    """Margin of every pair, with the numbers of its example and of the pair in it."""
    for owner, (example, given) in enumerate(zip(examples, rewards, strict=True)):
        for number, pair in enumerate(example.pairs):
            yield given[pair.chosen] - given[pair.rejected], owner, number


def _mistake(example: Example, pair: Pair, rewards: Sequence[float]) -> Mistake:
    return Mistake(
        id=example.id,
        prompt=prompt_text(example.prompt),
        chosen=example.responses[pair.chosen],
        rejected=example.responses[pair.rejected],
        chosen_reward=rewards[pair.chosen],
        rejected_reward=rewards[pair.rejected],
        strength=pair.strength,
        chosen_safe=example.is_safe[pair.chosen],
        rejected_safe=example.is_safe[pair.rejected],
        tags=example.tags,
    )
