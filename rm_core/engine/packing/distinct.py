"""Deduplication of equal texts before a forward pass.

Two rows of one matrix product may differ in their last bits, whatever is in them: equal texts have
equal rewards on every processor only where they are one row.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

from rm_core.types import Encoded, EncodedItem

T = TypeVar("T")


def reading_digest(item: EncodedItem) -> bytes:
    """Equal for items that any engine gives equal rewards: ids, positions, where prompts end."""
    return hashlib.sha256(
        repr(
            [
                (
                    name,
                    encoded.input_ids,
                    encoded.token_types,
                    encoded.read_position,
                    encoded.num_prompt_tokens,
                    [at.position for at in encoded.extra_positions],
                )
                for name, encoded in item.by_model.items()
            ]
        ).encode()
    ).digest()


@dataclass(frozen=True, slots=True)
class DistinctReads:
    """Texts without repetition, each read once at every position that anyone asks for.

    Attributes:
        texts: equal ones (the same ids, read position and cache's scope) once, in order of
            appearance.
        reads: of each of them, positions in its ids, each once.
        order: of each read that was asked for, text by text, its index among `reads`, end to end.
    """

    texts: list[Encoded]
    reads: list[list[int]]
    order: list[int]

    def spread(self, values: Sequence[T]) -> list[T]:
        """The values of `reads`, end to end, for every read that was asked for."""
        return [values[index] for index in self.order]


def distinct_reads(texts: Sequence[Encoded], reads: Sequence[Sequence[int]]) -> DistinctReads:
    """Lay repeated texts, and repeated reads of a text, together.

    Args:
        texts: with repetitions.
        reads: of each text, positions in its ids.
    """
    kinds: dict[tuple[tuple[int, ...], tuple[int, ...], int, bytes], int] = {}
    kind_of = [
        kinds.setdefault(
            (text.input_ids, text.token_types, text.read_position, text.cache_scope), len(kinds)
        )
        for text in texts
    ]
    firsts: list[Encoded] = []
    wanted: list[dict[int, int]] = [{} for _ in kinds]
    for text, kind, own in zip(texts, kind_of, reads, strict=True):
        if kind == len(firsts):
            firsts.append(text)
        for position in own:
            wanted[kind].setdefault(position, len(wanted[kind]))
    starts = list(accumulate((len(own) for own in wanted), initial=0))
    order = [
        starts[kind] + wanted[kind][position]
        for kind, own in zip(kind_of, reads, strict=True)
        for position in own
    ]
    return DistinctReads(firsts, [list(own) for own in wanted], order)
