"""Where within a response rewards are read: from characters to tokens.

Tokens and characters don't nest: a token may begin in the prompt and end in the response, and
several may share a character. So a token belongs to the response if any of its characters does, and
a step ends at the token that holds its last character.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rm_core.errors import DetailUnavailable, InputError
from rm_core.types import Dialogue, Encoded, ReadPosition

Offset = tuple[int, int]
"""First character of a token, and one past its last; equal for a token without any."""


@dataclass(frozen=True, slots=True)
class Tokenised:
    """A dialogue as it was tokenised.

    Attributes:
        dialogue: with the response as it was rendered.
        border: index in the text of the response's first character; None where it isn't found.
        offsets: of the text's tokens, those that the tokenizer added included; None where the
            tokenizer doesn't tell.
    """

    dialogue: Dialogue
    border: int | None
    offsets: Sequence[Offset] | None

    @property
    def num_prompt_tokens(self) -> int | None:
        """How many leading tokens hold nothing of the response; None where that is unknown."""
        return None if self.border is None else num_prompt_tokens(self.offsets, self.border)


def num_prompt_tokens(offsets: Sequence[Offset] | None, border: int) -> int | None:
    """How many leading tokens end before character `border`; None where offsets are unknown."""
    if offsets is None:
        return None
    # What a tokenizer adds has no place in the text and the offset (0, 0), also at the end.
    return next((i for i, (_, end) in enumerate(offsets) if end > border), len(offsets))


def response_positions(encoded: Encoded) -> range:
    """The tokens that a head which averages over the response reads.

    From the first with a character of the response up to the read position, so that what ends the
    response counts as well, as it does among the rewards of tokens. A response without a token of
    its own is read at the read position.

    Raises:
        InputError: it is not known where the response begins.
    """
    if encoded.num_prompt_tokens is None:
        raise InputError(
            "the model averages over the response's tokens, and it is not known where they begin; "
            "send prompt and response apart, serve the model with a fast tokenizer, and leave out "
            "of the response what its chat template changes"
        )
    end = encoded.read_position + 1
    return range(min(encoded.num_prompt_tokens, encoded.read_position), end)


def extra_positions_of(
    tokenised: Tokenised, encoded: Encoded, name_of: Callable[[int], str], *, stripped: bool
) -> tuple[ReadPosition, ...]:
    """The extra positions that `dialogue.read_at` asks for.

    Args:
        tokenised: what was tokenised.
        encoded: the finished encoding; its ids may begin and end otherwise than the text's tokens.
        name_of: a token id's name in the vocabulary, for tokens without characters.
        stripped: whether rendering dropped white space around the response.

    Raises:
        DetailUnavailable: it is not known where the tokens stand, or a step has none.
    """
    read_at = tokenised.dialogue.read_at
    if read_at == "end":
        return ()
    offsets, first = tokenised.offsets, tokenised.num_prompt_tokens
    border = tokenised.border
    if offsets is None or first is None or border is None or encoded.num_prompt_tokens is None:
        raise DetailUnavailable(
            "the model's tokenizer doesn't tell where its tokens stand in the text; leave "
            "`detail` out, or serve the model with a fast tokenizer"
        )
    text = _Response.of(tokenised.dialogue.response, border, stripped=stripped)
    shift = encoded.num_prompt_tokens - first
    if read_at == "tokens":
        return tuple(
            _token(text, offsets, position - shift, position, name_of(encoded.input_ids[position]))
            for position in range(first + shift, encoded.read_position + 1)
        )
    return _steps(text, offsets, first, shift, read_at)


@dataclass(frozen=True, slots=True)
class _Response:
    """The response as it was given, and where it stands in the tokenised text.

    Attributes:
        given: the response.
        begin: the first of its characters that are in the text.
        end: one past the last of them.
        border: index of that first character in the text.
    """

    given: str
    begin: int
    end: int
    border: int

    @classmethod
    def of(cls, given: str, border: int, *, stripped: bool) -> "_Response":
        bare = given.strip() if stripped else given
        begin = len(given) - len(given.lstrip()) if stripped else 0
        return cls(given, begin, begin + len(bare), border)

    def character(self, index: int) -> int:
        """The text's character `index`, counted in the response; the nearest if outside."""
        return min(max(index - self.border + self.begin, self.begin), self.end)


def _token(
    response: _Response, offsets: Sequence[Offset], index: int, position: int, name: str
) -> ReadPosition:
    start, end = offsets[index] if index < len(offsets) else (0, 0)
    if end <= response.border:  # added behind the text
        return ReadPosition(position, response.end, response.end, name)
    start, end = response.character(start), response.character(end)
    return ReadPosition(position, start, end, response.given[start:end] or name)


def _steps(
    response: _Response,
    offsets: Sequence[Offset],
    first: int,
    shift: int,
    ends: Sequence[int],
) -> tuple[ReadPosition, ...]:
    """The token that holds each step's last character."""
    stop = len(offsets)
    while stop > first and offsets[stop - 1][1] <= response.border:
        stop -= 1
    places: list[ReadPosition] = []
    index, begin = first, 0
    for step, end in enumerate(ends):
        last = response.border + min(max(end, response.begin), response.end) - response.begin
        while index < stop and not _follows(offsets[index], last):
            index += 1
        if index == first:
            raise DetailUnavailable(
                f"step {step} (counted from 0) has no text that the model reads; leave out empty "
                "steps and white space before the first",
                field="response",
            )
        places.append(ReadPosition(index - 1 + shift, begin, end, response.given[begin:end]))
        begin = end
    return tuple(places)


def _follows(offset: Offset, last: int) -> bool:
    """Whether a token holds nothing before character `last`.

    Some tokenizers leave white space out of their offsets, so that a line break has no characters
    and stands at its own end.
    """
    start, end = offset
    return start > last or (start == last and end > start)
