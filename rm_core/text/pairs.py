"""Prompt and response as two segments, as pair encoders read them: `[CLS] q [SEP] a [SEP]`."""

from dataclasses import dataclass
from typing import Any

from rm_core.errors import InputTooLong
from rm_core.text.length import LengthLimit
from rm_core.types import TextWarning, Truncation


@dataclass(frozen=True, slots=True)
class Pair:
    """A pair's ids.

    Attributes:
        ids: both segments, special tokens included.
        token_types: the segment of each id; empty where the model is not told.
        segments: of each id, 0 for the prompt's own, 1 for the response's, None for special tokens
            and where it isn't known.
    """

    ids: list[int]
    token_types: tuple[int, ...]
    segments: tuple[int | None, ...]

    @property
    def num_prompt(self) -> int | None:
        """Leading ids that hold nothing of the response; None where that can't be told."""
        return self.segments.index(1) if 1 in self.segments else None

    def cut(
        self, limit: LengthLimit, truncate: Truncation, max_tokens: int | None
    ) -> tuple["Pair", list[TextWarning]]:
        """Drop the prompt's first tokens, and the response's where those do not suffice.

        Raises:
            InputTooLong: it is to be refused.
        """
        most = limit.max_tokens if max_tokens is None else min(max_tokens, limit.max_tokens)
        excess = len(self.ids) - most
        if excess <= 0:
            return self, []
        prompt, response = (
            [at for at, own in enumerate(self.segments) if own == segment] for segment in (0, 1)
        )
        own_response = excess > len(prompt)
        goes_left = truncate == "left" or max_tokens is not None
        if truncate == "error" and max_tokens is None:
            raise InputTooLong(len(self.ids), most, field="response" if own_response else "prompt")
        if own_response and (not goes_left or excess >= len(prompt) + len(response)):
            raise InputTooLong(len(self.ids), most, field="response")
        dropped = set([*prompt, *response][:excess])
        kept = [at for at in range(len(self.ids)) if at not in dropped]
        cut = Pair(
            [self.ids[at] for at in kept],
            tuple(self.token_types[at] for at in kept) if self.token_types else (),
            tuple(self.segments[at] for at in kept),
        )
        told: list[TextWarning] = ["truncated"]
        return cut, [*told, "response_truncated"] if own_response else told


def encode_pair(tokenizer: Any, prompt: str, response: str) -> Pair:
    """Two texts as transformers' own `tokenizer(prompt, response)` gives them.

    Args:
        tokenizer: a transformers tokenizer.
        prompt: the first segment.
        response: the second.
    """
    found = tokenizer(prompt, response, truncation=False, padding=False)
    ids = list(found["input_ids"])
    segments = tuple(found.sequence_ids()) if tokenizer.is_fast else (None,) * len(ids)
    return Pair(ids, tuple(found.get("token_type_ids", ())), segments)


def has_pairs(tokenizer: Any) -> bool:
    """Whether a tokenizer separates two texts by special tokens, as those of pair encoders do.

    Many that never were trained so do as well: it is a hint, not a proof.
    """
    separator = getattr(tokenizer, "sep_token_id", None)
    try:
        two = tokenizer("x", "x")["input_ids"]
    except Exception:  # tokenizers of single texts raise what they like
        return False
    return separator is not None and separator in two[1 : len(two) - 1]
