"""Items and options as plain dictionaries, for type checkers: the models' own fields.

With them a call knows its reply's kind by what it asks about; at run time a mapping is checked by
the model (`rm_client.models`) that it means to be.
"""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

from rm_client.models import (
    AdvantageKind,
    DetailKind,
    GroupItem,
    MessagesItem,
    ResponseItem,
    StepAggregation,
    StepsItem,
    Truncation,
)
from rm_client.models_base import ChatMessage


class TurnForm(TypedDict):
    """One turn of a chat; see `ChatMessage`."""

    role: str
    content: str


PromptForm = str | list[TurnForm] | list[ChatMessage]


class _ItemForm(TypedDict, total=False):
    is_safety: bool
    allow_empty: bool


class _PromptForm(_ItemForm):
    prompt: PromptForm
    rendered: NotRequired[bool]


class ResponseForm(_PromptForm):
    """One response to one prompt; see `ResponseItem`."""

    response: str


class StepsForm(_PromptForm):
    """One response to one prompt, step by step; see `StepsItem`."""

    steps: list[str]


class MessagesForm(_ItemForm):
    """A whole chat that ends with the assistant's turn; see `MessagesItem`."""

    messages: list[TurnForm] | list[ChatMessage]


class GroupForm(_PromptForm):
    """Several responses to one prompt; see `GroupItem` and `CompareItem`."""

    responses: list[str]


class CompareOptionsForm(TypedDict, total=False):
    """What `compare` takes beside its items; see there."""

    truncate: Truncation
    stop: Sequence[str]


class ScoreOptionsForm(TypedDict, total=False):
    """What `score` takes beside its items; see there."""

    truncate: Truncation
    stop: Sequence[str]
    detail: DetailKind | None
    step_separator: str
    aggregation: StepAggregation
    advantages: AdvantageKind


SingleForm = ResponseItem | StepsItem | MessagesItem | ResponseForm | StepsForm | MessagesForm
"""Items that are answered by one response's rewards."""

SeveralForm = GroupItem | GroupForm
"""Items that are answered by a group's rewards."""
