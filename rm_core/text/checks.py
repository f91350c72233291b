"""Checks of a text before a tokenizer sees it: valid Unicode, and not absurdly long."""

from rm_core.errors import InputError
from rm_core.types import Dialogue

MAX_CHARACTERS_PER_TOKEN = 64
"""Texts with more characters than this for each token the model reads are refused unread."""


def too_many_characters(count: int, limit: int, field: str | None) -> InputError:
    """The error for a text of `count` characters and a model that reads `limit` tokens."""
    return InputError(
        f"{count} characters are more than {MAX_CHARACTERS_PER_TOKEN} for each of the "
        f"{limit} tokens that the model reads; shorten the text",
        field=field,
    )


def check_dialogue(dialogue: Dialogue) -> None:
    """Refuse a dialogue with a text that is not valid Unicode.

    Raises:
        InputError: `field` says whether it is the prompt or the response.
    """
    contents = (
        [dialogue.prompt]
        if isinstance(dialogue.prompt, str)
        else [text for turn in dialogue.prompt for text in (turn.content, turn.fields)]
    )
    for content in contents:
        check_characters(content, "prompt")
    check_characters(dialogue.response, "response")
    check_characters(dialogue.response_fields, "response")


def check_characters(text: str, field: str) -> None:
    """Refuse a text that is not valid Unicode.

    Raises:
        InputError: the text holds a lone surrogate.
    """
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InputError(
                "holds a lone surrogate, which is not valid Unicode", field=field
            ) from None
