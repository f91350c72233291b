"""Texts as their characters, for looking at data without a model's tokenizer."""

from rm_core.errors import EmptyText, InputError
from rm_core.types import Dialogue, Encoded, ReadPosition, RewardInput, Truncation
from training.data.examples import prompt_text


class CharacterEncoder:
    """Reads each character as a token, and never finds a text too long."""

    def encode(self, dialogue: RewardInput, *, truncate: Truncation = "error") -> Encoded:
        """The bytes of prompt and response, read at the end.

        Raises:
            EmptyText: the response is empty.
            InputError: the text is not valid Unicode, or not a dialogue.
        """
        del truncate
        if not isinstance(dialogue, Dialogue):
            raise InputError("only dialogues have characters", field="prompt")
        if not dialogue.response.strip():
            raise EmptyText("the response is empty", field="response")
        prompt = prompt_text(dialogue.prompt)
        ids = tuple(ord(character) for character in prompt + dialogue.response)
        if any(0xD800 <= code <= 0xDFFF for code in ids):
            raise InputError("the text is not valid Unicode", field="response")
        ends = dialogue.read_at if isinstance(dialogue.read_at, tuple) else ()
        places = tuple(
            ReadPosition(len(prompt) + end - 1, start, end, dialogue.response[start:end])
            for start, end in zip((0, *ends), ends, strict=False)
        )
        return Encoded(ids, len(ids) - 1, len(prompt), extra_positions=places)
