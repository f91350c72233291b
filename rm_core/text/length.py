"""The length limit: what is cut of a text that is too long, and what is refused."""

from collections.abc import Sequence
from dataclasses import dataclass

from rm_core.errors import InputTooLong, ResponseNotFound
from rm_core.text.checks import MAX_CHARACTERS_PER_TOKEN, too_many_characters
from rm_core.types import TextWarning, Truncation


@dataclass(frozen=True, slots=True)
class LengthLimit:
    """The most tokens that a model reads, and what is kept of a text that has more.

    Attributes:
        max_tokens: the limit.
        bos: BOS written out; "" without one.
        kept_in_front: ids that stay where they begin a text: BOS, CLS.
    """

    max_tokens: int
    bos: str
    kept_in_front: frozenset[int]

    @property
    def max_characters(self) -> int:
        """Texts with more characters are cut or refused before they are tokenised."""
        return self.max_tokens * MAX_CHARACTERS_PER_TOKEN

    def cut_text(
        self, text: str, border: int | None, truncate: Truncation
    ) -> tuple[str, int | None, list[TextWarning]]:
        """Bound the characters to tokenise, so that no text takes long to refuse.

        Returns:
            The text's end, behind the BOS that it began with; the border in it; warnings.
        """
        if len(text) <= self.max_characters:
            return text, border, []
        own_response = border is not None and len(text) - border > self.max_characters
        if truncate == "error" or (truncate == "prompt" and (own_response or border is None)):
            field = "response" if own_response else "prompt"
            raise too_many_characters(len(text), self.max_tokens, field)
        return self.last_characters(text, border)

    def last_characters(
        self, text: str, border: int | None
    ) -> tuple[str, int | None, list[TextWarning]]:
        """The end of a text, as much of it as can matter, behind the BOS that it began with."""
        front = self.bos if text.startswith(self.bos) else ""
        excess = max(len(text) - self.max_characters, len(front))
        left = None if border is None else len(front) + max(border - excess, 0)
        return front + text[excess:], left, _warnings(border is not None and border < excess)

    def cut(
        self, ids: list[int], num_prompt: int | None, truncate: Truncation
    ) -> tuple[list[int], int | None, list[TextWarning]]:
        """Drop tokens from the left, keeping BOS (or CLS) and EOS; the response's own at last."""
        excess = len(ids) - self.max_tokens
        if excess <= 0:
            return ids, num_prompt, []
        keep = self.num_kept(ids)
        own_response = num_prompt is not None and num_prompt - keep < excess
        if truncate == "error" or (truncate == "prompt" and own_response):
            field = "response" if own_response else "prompt" if num_prompt is not None else None
            raise InputTooLong(len(ids), self.max_tokens, field=field)
        if truncate == "prompt" and num_prompt is None:
            raise ResponseNotFound(len(ids), self.max_tokens)
        left = None if num_prompt is None else max(num_prompt - excess, keep)
        return ids[:keep] + ids[keep + excess :], left, _warnings(own_response)

    def cut_rendered(
        self, ids: list[int], num_prompt: int | None, truncate: Truncation, max_tokens: int | None
    ) -> tuple[list[int], int | None, list[TextWarning]]:
        """The same of a whole text, of which at most `max_tokens` are kept: its end is scored."""
        cut_to = self.max_tokens if max_tokens is None else min(max_tokens, self.max_tokens)
        excess = len(ids) - cut_to
        if excess <= 0:
            return ids, num_prompt, []
        keep = self.num_kept(ids) if cut_to > 1 else 0
        own_response = num_prompt is not None and num_prompt - keep < excess
        refused = truncate == "error" or (truncate == "prompt" and own_response)
        if max_tokens is None and refused:
            raise InputTooLong(len(ids), self.max_tokens, field="text")
        left = None if num_prompt is None else max(num_prompt - excess, 0)
        return ids[:keep] + ids[keep + excess :], left, _warnings(own_response)

    def num_kept(self, ids: Sequence[int]) -> int:
        """How many ids stay in front whatever is cut behind them."""
        return int(ids[0] in self.kept_in_front)


def _warnings(own_response: bool) -> list[TextWarning]:
    return ["truncated", "response_truncated"] if own_response else ["truncated"]
