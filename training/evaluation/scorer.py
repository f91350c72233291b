"""Scorers, which give rewards to candidates: checkpoints and baselines."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from rm_core.types import Message, Role
from training.data.examples import Example
from training.data.records import PreferenceRecord


@dataclass(frozen=True, slots=True)
class Candidate:
    """A response to be given a reward.

    Attributes:
        prompt: what it answers.
        response: its text.
        step_ends: numbers of its characters after which its steps end; empty: no step is read.
        token_ids: the whole text as token ids, where the data came so; read instead of the text.
    """

    prompt: str | tuple[Message, ...]
    response: str
    step_ends: tuple[int, ...] = ()
    token_ids: tuple[int, ...] | None = None


def candidates_of(source: Example | PreferenceRecord) -> list[Candidate]:
    """The responses of an example or a record, without their steps."""
    token_ids = source.token_ids or (None,) * len(source.responses)
    return [
        Candidate(source.prompt, response, token_ids=own)
        for response, own in zip(source.responses, token_ids, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Reading:
    """A candidate's rewards.

    Attributes:
        reward: finite.
        steps: at its steps' ends, finite; None where none were asked for, or the scorer has none.
    """

    reward: float
    steps: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a candidate has no reward.

    Attributes:
        reason: a stable code, "input_too_long".
    """

    reason: str


@dataclass(frozen=True, slots=True)
class ScorerInfo:
    """What a scorer is.

    Attributes:
        name: in tables; unique in a report.
        kind: whether it is measured, or what is measured beside it.
        how: how it chooses, or where it was loaded from.
        role: of a reward model that says so.
        digest: sha256 over a checkpoint's weights, hex.
    """

    name: str
    kind: Literal["reward_model", "baseline"]
    how: str
    role: Role | None = None
    digest: str | None = None

    @property
    def has_scores(self) -> bool:
        """Whether σ(reward) is a score with a meaning of its own."""
        return self.kind == "reward_model"


class Scorer(Protocol):
    """Gives rewards to candidates."""

    @property
    def info(self) -> ScorerInfo:
        """What it is; complete once it has scored."""
        ...

    def score(
        self, candidates: Sequence[Candidate], on_scored: Callable[[int], None]
    ) -> list[Reading | Refusal]:
        """A reading or a refusal for each candidate, in order.

        Args:
            candidates: those of one prompt stand together.
            on_scored: told how many more are done, now and then.

        Raises:
            RewardError: nothing can be scored.
        """
        ...
