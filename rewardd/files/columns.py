"""From a row's columns to what is scored: an item of /score or /compare."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

from rewardd.files.rows import BadRow
from rm_client.errors import InvalidRequest
from rm_client.models import CompareItem, GroupItem, MessagesItem, ResponseItem, ScoreItem
from rm_client.wire import as_item
from training.data.rows.row import absence, has_column, nearest

Item = TypeVar("Item", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which column holds what.

    Where one of `response`, `responses` and `messages` is named, only the named are looked for;
    else the columns of these names, of which `messages` goes before `responses` before `response`.

    Attributes:
        prompt: the prompt: a text, or chat messages.
        response: the response: a text, or a chat that ends with it.
        responses: columns that together are the responses to one prompt; each holds one (as
            `response` does) or a list of texts.
        messages: a whole chat that ends with the response.
        is_safety: true where the prompt is known to be about safety.
    """

    prompt: str = "prompt"
    response: str | None = None
    responses: tuple[str, ...] = ()
    messages: str | None = None
    is_safety: str = "is_safety"

    def score_item(self, values: Mapping[str, Any]) -> ScoreItem:
        """The item of /score that a row is.

        Raises:
            BadRow: it lacks the columns, or they don't hold what they should.
        """
        form, names = self._form(values)
        if form == "messages":
            messages = [_without_nulls(message) for message in _as_list(values[names[0]])]
            return _validated(MessagesItem, {"messages": messages, **self._tag(values)})
        prompt, responses = self._responses(values, names)
        if form == "responses":
            return _validated(
                GroupItem, {"prompt": prompt, "responses": responses, **self._tag(values)}
            )
        if len(responses) != 1:
            raise BadRow(
                "invalid_item", f"`{names[0]}` holds a list; name it with --responses-column"
            )
        return _validated(
            ResponseItem, {"prompt": prompt, "response": responses[0], **self._tag(values)}
        )

    def compare_item(self, values: Mapping[str, Any]) -> CompareItem:
        """The item of /compare that a row is."""
        names = self.responses or ("responses",)
        prompt, responses = self._responses(values, names)
        return _validated(
            CompareItem, {"prompt": prompt, "responses": responses, **self._tag(values)}
        )

    def _form(self, values: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        """Which kind of item the row is, and the columns that make it one."""
        named = bool(self.response or self.responses or self.messages)
        forms: dict[str, tuple[str, ...]] = {
            "messages": (self.messages or "messages",),
            "responses": self.responses or ("responses",),
            "response": (self.response or "response",),
        }
        if named:
            asked = {
                "messages": self.messages,
                "responses": self.responses,
                "response": self.response,
            }
            forms = {form: columns for form, columns in forms.items() if asked[form]}
        for form, columns in forms.items():
            if all(values.get(column) is not None for column in columns):
                return form, columns
        raise _without_form(values, forms)

    def _responses(self, values: Mapping[str, Any], names: Sequence[str]) -> tuple[Any, list[Any]]:
        """The prompt and its responses."""
        responses: list[Any] = []
        prompts: list[Any] = []
        for name in names:
            value = values.get(name)
            if value is None:
                raise _missing(values, name, "--responses-column")
            if _is_chat(value):
                *before, last = map(_without_nulls, value)
                if last.get("role") != "assistant":
                    raise BadRow(
                        "invalid_messages", f"the chat in {name} does not end with the assistant"
                    )
                responses.append(last.get("content"))
                if before:
                    prompts.append(before)
            elif isinstance(value, list):
                responses += value
            else:
                responses.append(value)
        return self._prompt(values, prompts), responses

    def _prompt(self, values: Mapping[str, Any], prompts: Sequence[Any]) -> Any:
        if prompts:
            # The chats tell it in full, where a prompt column may hold its last turn alone.
            if any(prompt != prompts[0] for prompt in prompts):
                raise BadRow("different_prompts", "the row's responses answer different chats")
            return prompts[0]
        prompt = values.get(self.prompt)
        if prompt is None:
            raise _missing(values, self.prompt, "--prompt-column")
        if isinstance(prompt, list):
            return [_without_nulls(message) for message in prompt]
        return prompt

    def _tag(self, values: Mapping[str, Any]) -> dict[str, Any]:
        tag = values.get(self.is_safety)
        return {} if tag is None else {"is_safety": tag}


def _missing(values: Mapping[str, Any], column: str, option: str) -> BadRow:
    """A row without anything in a column: null, empty, or under another name."""
    told = absence(values, column)
    if not has_column(values, column):
        close = nearest(column, values)
        told += f" Name it with {option} {close}" if close else f"; name yours with {option}"
    return BadRow("missing_column", told)


def _without_form(values: Mapping[str, Any], forms: Mapping[str, Sequence[str]]) -> BadRow:
    """A row that is no item: the nearest form lacks a column."""
    wanted = [(form, column) for form, columns in forms.items() for column in columns]
    for form, column in reversed(wanted):  # a response is what people mean first
        is_lacking = values.get(column) is None
        if is_lacking and (has_column(values, column) or nearest(column, values)):
            return _missing(values, column, f"--{form}-column")
    names = ", ".join(column for _, column in reversed(wanted))
    options = " or ".join(f"--{form}-column" for form in reversed(list(forms)))
    return BadRow("missing_column", f"there is no column {names}; name yours with {options}")


def _is_chat(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _without_nulls(message: Any) -> Any:
    """A message without the fields that a table fills up with null."""
    if not isinstance(message, dict):
        return message
    return {key: value for key, value in message.items() if value is not None}


def _validated(model: type[Item], fields: Mapping[str, Any]) -> Item:
    try:
        return as_item(model, fields)
    except InvalidRequest as error:
        raise BadRow("invalid_item", f"the row is not valid: {error}") from None
