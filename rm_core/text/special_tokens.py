"""The special tokens before and behind a text, found by trying the tokenizer.

A text that somebody else rendered may have lost its BOS on the way (veRL strips it, expecting the
server to put it back) or still have it; what is there already is never added again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rm_core.text.template import ChatTemplate


@dataclass(frozen=True, slots=True)
class Frame:
    """What a model's rendered texts begin and end with.

    Attributes:
        prefix: token ids that every text begins with.
        suffix: token ids that every text ends with.
        stops: texts that end an assistant turn: the EOS token, and what the chat template writes.
        tail: what the chat template writes behind the last turn's content; "" without a template.
    """

    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()
    stops: tuple[str, ...] = ()
    tail: str = ""

    def around(self, ids: Sequence[int]) -> tuple[list[int], int]:
        """`ids` with what is missing of prefix and suffix, and how many ids came in front."""
        front = () if tuple(ids[: len(self.prefix)]) == self.prefix else self.prefix
        behind = self.suffix
        if not behind or tuple(ids[-len(behind) :]) == behind:
            behind = ()
        return [*front, *ids, *behind], len(front)

    def without_stops(self, text: str, foreign: Sequence[str] = ()) -> tuple[str, bool]:
        """A text without the stop tokens that a sampler left at its end.

        Args:
            text: a response, or a whole text.
            foreign: stop tokens of the policy, which are not the model's own.

        Returns:
            What stands before them, and whether one of `foreign` was among them.
        """
        found = False
        while True:
            bare = text.rstrip()
            ends = [
                (whole, stop)
                for stop in {*foreign, *self.stops}
                for whole in (text, bare)  # a stop may itself be white space
                if whole.endswith(stop)
            ]
            if not ends:
                return text, found
            whole, stop = max(ends, key=lambda end: len(end[1]))
            found = found or stop in foreign
            text = whole.removesuffix(stop)

    def with_own_end(self, text: str, foreign: Sequence[str]) -> str:
        """A text with the model's own end of a turn in place of a policy's stop tokens.

        A text that ends without one of them stays as it is.
        """
        bare, found = self.without_stops(text, foreign)
        return bare + self.tail if found else text


def ends_with(eos: int | None, ids: Sequence[int]) -> bool:
    """Whether a text ends with EOS itself, whatever else its template ends turns with.

    Some templates write EOS and a line break.
    """
    return eos is not None and eos in ids[-2:]


def added_around(bare: Sequence[int], dressed: Sequence[int]) -> tuple[list[int], list[int]]:
    """What a tokenizer puts before and behind a text's own ids; nothing where it can't be told."""
    length = len(bare)
    for start in range(len(dressed) - length + 1):
        if list(dressed[start : start + length]) == list(bare):
            return list(dressed[:start]), list(dressed[start + length :])
    return [], []


def find_frame(
    tokenizer: Any,
    tokenize: Callable[[str], list[int]],
    *,
    template: ChatTemplate | None,
    by_tokenizer: tuple[list[int], list[int]],
    want_bos: bool,
    want_eos: bool,
) -> Frame:
    """What a model's position contract puts around a text.

    Args:
        tokenizer: a transformers tokenizer, for its special tokens and its template.
        tokenize: text to ids, nothing added.
        template: what renders texts, and then decides on BOS; None: nothing does.
        by_tokenizer: what the tokenizer itself adds (see `added_around`); not read with `template`.
        want_bos: whether a text begins with BOS whatever template and tokenizer do.
        want_eos: likewise, whether it ends with EOS.
    """
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    prefix, suffix = by_tokenizer if template is None else ([], [])
    text, tail = ("", "") if template is None else (template.before, template.tail)
    if bos is not None and (want_bos or tokenize(text)[:1] == [bos]):
        prefix = [bos]
    if eos is not None and want_eos and suffix[-1:] != [eos]:
        suffix = [*suffix, eos]
    stops = dict.fromkeys(stop for stop in (tokenizer.eos_token, tail.strip()) if stop)
    return Frame(tuple(prefix), tuple(suffix), tuple(stops), tail)
