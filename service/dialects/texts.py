"""The forms that texts have in other projects' bodies, as the core's inputs."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from rm_core.types import Dialogue, Message, RenderedText, TokenIds
from service.dialects.base import ForeignModel, ParsedText, TextInput, bad_request, wrong_type


class TextPart(ForeignModel):
    """A part of a message's content; parts without text (images) hold nothing to score."""

    text: str = ""


class Turn(ForeignModel):
    """One message of an OpenAI-like chat."""

    role: str = Field(min_length=1, max_length=64)
    content: str | list[TextPart] | None = None

    def to_message(self) -> Message:
        """The domain's value."""
        return Message(self.role, self.text)

    @property
    def text(self) -> str:
        """All text of the message, end to end."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


def chat(turns: Sequence[Turn], pointer: str) -> TextInput:
    """A whole chat whose last turn, the assistant's, is scored.

    Raises:
        Problem: 422, the chat ends otherwise.
    """
    if len(turns) < 2 or turns[-1].role != "assistant":
        raise bad_request(
            pointer,
            "A chat must end with an assistant turn, the response that is judged, after at least "
            "one other; to judge a text as it stands send it as input.",
        )
    prompt = tuple(turn.to_message() for turn in turns[:-1])
    subject = Dialogue(prompt, turns[-1].text, allow_empty=True)
    fields = {"prompt": pointer, "response": f"{pointer}/{len(turns) - 1}/content"}
    return TextInput(subject, pointer, fields)


def answered(
    prompt: str | Sequence[Turn], response: str, fields: Mapping[str, str], *, rendered: bool
) -> TextInput:
    """A response to a prompt; an empty one is scored, since policies do sample them.

    Args:
        prompt: text or chat.
        response: what followed it.
        fields: where "prompt" and "response" stand in the body.
        rendered: whether a text prompt has been through a chat template already.
    """
    if isinstance(prompt, str):
        subject = Dialogue(prompt, response, allow_empty=True, rendered=rendered)
    else:
        turns = tuple(turn.to_message() for turn in prompt)
        subject = Dialogue(turns, response, allow_empty=True)
    return TextInput(subject, fields["response"], fields)


def texts_or_ids(
    value: object,
    pointer: str,
    *,
    add_special_tokens: bool = True,
    max_tokens: int | None = None,
) -> tuple[list[ParsedText], bool]:
    """One or several whole texts, or their token ids.

    Args:
        value: a string, a list of token ids, or a list of either.
        pointer: where it stands.
        add_special_tokens: whether BOS and EOS are added to texts where absent.
        max_tokens: how many tokens of each are kept; None: as many as the models read.

    Returns:
        The places, and whether there was one text alone rather than a list.

    Raises:
        Problem: 422, neither string nor list.
    """

    def place(one: object, where: str) -> ParsedText:
        if isinstance(one, str):
            text = RenderedText(one, add_special_tokens=add_special_tokens, max_tokens=max_tokens)
            return TextInput(text, where)
        if isinstance(one, list) and all(map(_is_id, one)):
            return TextInput(TokenIds(tuple(one), max_tokens), where)
        return wrong_type(where, "A string or a list of token ids")

    if isinstance(value, str) or (isinstance(value, list) and value and _is_id(value[0])):
        return [place(value, pointer)], True
    if isinstance(value, list):
        return [place(one, f"{pointer}/{index}") for index, one in enumerate(value)], False
    raise bad_request(pointer, "A string, a list of token ids, or a list of either is expected.")


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
