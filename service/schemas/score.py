"""What the server adds to the wire models of /score and /compare: envelopes, items as dialogues.

Requests are validated item by item (see `service.http.body`); replies are built as plain values
(see `rm_core.rewards.rule`) and documented by `rm_client.models`, which the tests hold them to.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from pydantic import Field

from rm_client.models import (
    CompareItem,
    CompareRequest,
    GroupItem,
    MessagesItem,
    ResponseItem,
    ScoreItem,
    ScoreRequest,
    StepsItem,
    TextOptions,
)
from rm_client.models_ppo import PpoItem
from rm_client.turns import Turn
from rm_core.types import Dialogue, Message

WireItem = ScoreItem | CompareItem | PpoItem


class ScoreEnvelope(ScoreRequest):
    """What surrounds the items of /score; the items themselves are validated one by one."""

    items: list[Any] = Field(min_length=1)


class CompareEnvelope(CompareRequest):
    """What surrounds the items of /compare."""

    items: list[Any] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class ScorableWireItem:
    """A wire item as what is scored: its dialogues, and where their parts stand in it.

    Attributes:
        item: as it was validated.
        stops: the policy's stop tokens, taken off the responses' ends.
    """

    item: WireItem
    stops: tuple[str, ...] = ()

    @classmethod
    def of(cls, item: WireItem, options: TextOptions) -> "ScorableWireItem":
        """An item read as the request says."""
        return cls(item, tuple(options.stop))

    @property
    def is_safety(self) -> bool:
        """The caller's tag of the prompt."""
        return self.item.is_safety

    def dialogues(self) -> list[Dialogue]:
        """One per response; of steps the one, read at their ends too."""
        item = self.item
        if isinstance(item, MessagesItem):
            *before, last = item.messages
            return [
                Dialogue(
                    to_prompt(before),
                    last.text,
                    item.allow_empty,
                    stops=self.stops,
                    response_fields=last.template_fields,
                )
            ]
        first = Dialogue(
            to_prompt(item.prompt),
            "",
            item.allow_empty,
            rendered=item.rendered,
            stops=self.stops,
        )
        if isinstance(item, StepsItem):
            ends = tuple(accumulate(map(len, item.steps)))
            return [replace(first, response="".join(item.steps), read_at=ends)]
        responses = [item.response] if isinstance(item, ResponseItem) else item.responses
        return [replace(first, response=response) for response in responses]

    def pointer_of(self, index: int, field: str) -> str:
        """Where in the item dialogue `index`'s `field` stands; "" for the item itself."""
        item = self.item
        if isinstance(item, MessagesItem):
            last = len(item.messages) - 1
            return f"/messages/{last}/content" if field == "response" else "/messages"
        if field == "prompt":
            return "/prompt"
        if isinstance(item, GroupItem | CompareItem):
            return f"/responses/{index}"
        if field != "response":
            return ""
        return "/steps" if isinstance(item, StepsItem) else "/response"


def to_prompt(prompt: str | Sequence[Turn]) -> str | tuple[Message, ...]:
    """The domain's form of a wire prompt."""
    if isinstance(prompt, str):
        return prompt
    return tuple(to_message(turn) for turn in prompt)


def to_message(turn: Turn) -> Message:
    """The domain's form of a turn."""
    return Message(turn.role, turn.text, turn.template_fields)
