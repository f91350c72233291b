"""Rewards of tokens and steps: what is asked of an item's responses, and how it is replied."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rm_client.models import DetailKind, ScoreItem, ScoreOptions, StepsItem
from rm_core.rewards import aggregate_steps
from rm_core.rewards.rule import PositionRewards, ScoredResponse
from rm_core.types import Dialogue, ReadAt
from service.results import ItemFailure
from service.schemas.score import ScorableWireItem
from service.scoring.score_items import ScorableItem

# Of a response that is padding from its first token on: nothing of it is read.
_NOTHING = PositionRewards((), (), ())


def detail_of(item: object, options: ScoreOptions) -> DetailKind | None:
    """What is asked of an item: what the request says, and of steps their rewards in any case."""
    if options.detail is None and isinstance(item, StepsItem):
        return "steps"
    return options.detail


def with_detail(item: ScoreItem | ItemFailure, options: ScoreOptions) -> ScorableItem | ItemFailure:
    """The item, its responses read also where the options ask for it."""
    if isinstance(item, ItemFailure):
        return item
    whole = ScorableWireItem.of(item, options)
    return whole if options.detail is None else _Detailed(whole, options)


def split_steps(response: str, separator: str) -> tuple[int, ...]:
    """How many characters of the response have passed at the end of each step.

    A step ends behind its separator; blank ones belong to the step after them, or to none.
    """
    ends: list[int] = []
    begin = 0
    while begin < len(response):
        found = response.find(separator, begin)
        end = len(response) if found < 0 else found + len(separator)
        if response[begin : end if found < 0 else found].strip():
            ends.append(end)
        begin = end
    return tuple(ends)


def response_json(
    scored_response: ScoredResponse, item: object, options: ScoreOptions
) -> dict[str, Any]:
    """A judgement's part of the reply, with its rewards of tokens or steps."""
    reply = scored_response.as_json()
    kind = detail_of(item, options)
    if kind is None:
        return reply
    for name in (*scored_response.roles, *scored_response.further):
        own = reply[name] if name in scored_response.roles else reply["rewards"][name]
        read = scored_response.scored.position_rewards.get(name, _NOTHING)
        if kind == "tokens":
            own["tokens"] = _tokens_json(read)
        else:
            own["steps"] = _steps_json(read, scored_response.position_scores[name], options)
    return reply


@dataclass(frozen=True, slots=True)
class _Detailed:
    """A /score item whose responses are read within; a `ScorableItem`."""

    whole: ScorableWireItem
    options: ScoreOptions

    @property
    def is_safety(self) -> bool:
        return self.whole.is_safety

    def dialogues(self) -> list[Dialogue]:
        return [replace(one, read_at=self._read_at(one)) for one in self.whole.dialogues()]

    def pointer_of(self, index: int, field: str) -> str:
        return self.whole.pointer_of(index, field)

    def _read_at(self, dialogue: Dialogue) -> ReadAt:
        if self.options.detail == "tokens":
            return "tokens"
        if isinstance(self.whole.item, StepsItem):
            return dialogue.read_at
        return split_steps(dialogue.response, self.options.step_separator)


def _tokens_json(read: PositionRewards) -> dict[str, Any]:
    return {
        "ids": read.ids,
        "texts": [at.text for at in read.positions],
        "offsets": _offsets(read),
        "rewards": read.rewards,
    }


def _steps_json(
    read: PositionRewards, scores: Sequence[float], options: ScoreOptions
) -> dict[str, Any]:
    return {
        "offsets": _offsets(read),
        "rewards": read.rewards,
        "scores": scores,
        "aggregation": options.aggregation,
        "score": aggregate_steps(scores, options.aggregation),
    }


def _offsets(read: PositionRewards) -> list[list[int]]:
    return [[at.start, at.end] for at in read.positions]
