"""What a dialect's body asks: texts to score, and how to write down what became of them."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel, ConfigDict

from rm_core.rewards.rule import ScoredResponse
from rm_core.types import ModelName, RewardInput, TokenIds
from service.problems import Problem, ProblemItem
from service.results import ItemFailure
from service.settings import RewardKind

PATIENCE_SECONDS = 300.0
"""How long a request waits for room whose client itself would wait for ever."""
_MARGIN_SECONDS = 10.0


class ForeignModel(BaseModel):
    """A body of another project: types are strict, fields that we don't know are not our affair."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


@dataclass(frozen=True, slots=True)
class TextInput:
    """One text to score.

    Attributes:
        subject: what the models read.
        pointer: where it stands in the body.
        fields: where its parts stand, by the core's name of the part ("prompt", "response").
        is_safety: whether the safety reward is to be selected whatever its score.
    """

    subject: RewardInput
    pointer: str
    fields: Mapping[str, str] = field(default_factory=dict)
    is_safety: bool = False

    def dialogues(self) -> Sequence[RewardInput]:
        """The one text."""
        return (self.subject,)

    def without_stops(self, stops: tuple[str, ...]) -> "TextInput":
        """The same text, the policy's stop tokens taken off its end; ids stay as they are."""
        if not stops or isinstance(self.subject, TokenIds):
            return self
        return replace(self, subject=replace(self.subject, stops=stops))

    def pointer_of(self, index: int, field: str) -> str:  # noqa: ARG002 (one text)
        """Where in the body a part stands."""
        return self.fields.get(field, self.pointer)


ParsedText = TextInput | ItemFailure


@dataclass(frozen=True, slots=True)
class TextReward:
    """What a dialect says of one text.

    Attributes:
        reward: the composite, finite.
        score: σ of the calibrated reward that the composite came from, in (0, 1).
        names: of the loaded models.
        scored_response: everything known; None where the text could not be scored.
        failure: why it could not be.
        further: the model beside safety and helpfulness whose reward it is; None: theirs.
    """

    reward: float
    score: float
    names: tuple[ModelName, ...]
    scored_response: ScoredResponse | None = None
    failure: ItemFailure | None = None
    further: ModelName | None = None

    @property
    def num_tokens(self) -> int:
        """Tokens that were read; 0 for a failure."""
        return 0 if self.scored_response is None else self.scored_response.scored.num_tokens

    @property
    def warnings(self) -> tuple[str, ...]:
        """See `ScoredItem`."""
        return () if self.scored_response is None else self.scored_response.scored.warnings

    def numbers(self) -> dict[str, float]:
        """Everything as numbers under keys that never change: trainers merge them blindly."""
        found: dict[str, float] = {}
        results = self.scored_response
        for name in self.names:
            found[f"{name}_reward"] = (
                self.reward if results is None else results.scored.rewards[name]
            )
            found[f"{name}_score"] = self.score if results is None else results.scores[name]
        return found | {
            "selected_safety": float(results is not None and results.selected == "safety"),
            "num_tokens": float(self.num_tokens),
            "truncated": float("truncated" in self.warnings),
            "response_truncated": float("response_truncated" in self.warnings),
            "missing_eos": float("missing_eos" in self.warnings),
            "failed": float(self.failure is not None),
        }


@dataclass(frozen=True, slots=True)
class ParsedBody:
    """A body, understood.

    Attributes:
        places: the texts, or what is wrong with one, in the body's order.
        render: the reply's JSON value from one reward per place, or the reply itself.
        reward: which number the body asks for, by a model's name; None: what the options say.
    """

    places: Sequence[ParsedText]
    render: Callable[[Sequence[TextReward]], Any]
    reward: RewardKind | None = None


@dataclass(frozen=True, slots=True)
class ClientTimeout:
    """How long a dialect's clients wait for a reply, and who says so.

    Attributes:
        seconds: of the client that waits least; None: they wait for ever.
        source: of the number, in the clients' own code.
    """

    seconds: float | None
    source: str

    @property
    def patience_seconds(self) -> float:
        """How long a request waits for room: a little less than its client does."""
        if self.seconds is None:
            return PATIENCE_SECONDS
        return self.seconds - min(_MARGIN_SECONDS, self.seconds / 4)


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells one reply from another where a contract wants that: its name and its time.

    Attributes:
        reply_id: 32 hex digits.
        created: unix time, whole seconds.
    """

    reply_id: str
    created: int

    @classmethod
    def new(cls) -> "Stamp":
        """That of a reply which nobody has had yet."""
        return cls(uuid.uuid4().hex, int(time.time()))


@dataclass(frozen=True, slots=True)
class DialectOptions:
    """What the address says beside the body; trainers can set an address and little else.

    Attributes:
        reward: which number is returned.
        stream: whose statistics whiten it, if it is whitened.
        detail: whether more than the bare number is wanted.
        rendered: whether prompts are rendered already and only the response is to be appended.
        name: of the model that the path names; "" elsewhere.
        stops: the policy's stop tokens, taken off the texts' ends.
        further: names of loaded models beside safety and helpfulness, which bodies may ask for.
        stamp: of the reply.
    """

    reward: RewardKind = "selected"
    stream: str = "default"
    detail: bool = False
    rendered: bool = False
    name: str = ""
    stops: tuple[str, ...] = ()
    further: tuple[ModelName, ...] = ()
    stamp: Stamp = field(default_factory=Stamp.new)


def wrong_type(pointer: str, expected: str) -> ItemFailure:
    """The failure of one text that is none."""
    return ItemFailure("invalid_type", f"{expected} is expected here.", pointer)


def bad_request(pointer: str, detail: str) -> Problem:
    """A body that can't be understood as a whole."""
    return Problem(
        422, "invalid_request", detail, errors=[ProblemItem(pointer, "invalid_request", detail)]
    )
