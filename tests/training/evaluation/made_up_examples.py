"""Examples and scorers for the tests of evaluation."""

from collections.abc import Callable, Sequence
from typing import Any

from training.data.examples import Example, Pair
from training.data.records import StepLabel
from training.evaluation.scorer import Candidate, Reading, Refusal, ScorerInfo


def example(
    key: str,
    responses: Sequence[str] = ("good", "bad"),
    *,
    pairs: Sequence[Pair] | None = None,
    ranking: Sequence[int] | None = None,
    **known: Any,
) -> Example:
    """An example whose responses stand from the best to the worst, unless told otherwise."""
    count = len(responses)
    if pairs is None:
        pairs = [Pair(i, j) for i in range(count) for j in range(i + 1, count)]
    return Example(
        id=key,
        prompt_key=key,
        prompt=f"prompt {key}",
        responses=tuple(responses),
        pairs=tuple(pairs),
        ranking=tuple(range(count)) if ranking is None else tuple(ranking),
        **known,
    )


def steps(*labels: float) -> tuple[StepLabel, ...]:
    """Steps of four characters each."""
    return tuple(StepLabel(4 * (i + 1), label) for i, label in enumerate(labels))


class MadeUpScorer:
    """Rewards by a rule of the response's text.

    Args:
        rule: the reward; None refuses.
        name: in tables.
        kind: see `ScorerInfo`.
    """

    def __init__(
        self,
        rule: Callable[[str], float | None],
        name: str = "made up",
        kind: Any = "reward_model",
    ) -> None:
        self._rule = rule
        self.info = ScorerInfo(name, kind, "a rule of a test")
        self.asked: list[Candidate] = []

    def score(
        self, candidates: Sequence[Candidate], on_scored: Callable[[int], None]
    ) -> list[Reading | Refusal]:
        self.asked = list(candidates)
        readings: list[Reading | Refusal] = []
        for candidate in candidates:
            reward = self._rule(candidate.response)
            if reward is None:
                readings.append(Refusal("input_too_long"))
                continue
            begins = (0, *candidate.step_ends)
            of_steps = [
                self._rule(candidate.response[begin:end]) or 0.0
                for begin, end in zip(begins, candidate.step_ends, strict=False)
            ]
            readings.append(Reading(reward, tuple(of_steps) if of_steps else None))
            on_scored(1)
        return readings
