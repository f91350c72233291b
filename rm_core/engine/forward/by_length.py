"""A forward for LongRoPE models, which batches short and long texts apart.

LongRoPE (Ding et al. 2024, arXiv:2402.13753; Phi-3's long checkpoints) turns queries and keys by
one set of frequencies in texts up to a length and by another beyond it. Transformers chooses the
set once for a whole batch, by its longest text: a short text beside a long one would get a wrong
reward.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from rm_core.engine.forward.base import Forward, ForwardAround, reads_of
from rm_core.types import Encoded, ReadPosition


def class_borders(config: Any) -> tuple[int, ...]:
    """Lengths in tokens above which a text is read by other frequencies, ascending.

    Args:
        config: of a transformers model.
    """
    rope = getattr(config.get_text_config(), "rope_parameters", None) or {}
    # Models with layers of several types keep one set of parameters for each.
    sets = [rope] if "rope_type" in rope else [each for each in rope.values() if each]
    longropes = [each for each in sets if each.get("rope_type") == "longrope"]
    return tuple(sorted({int(each["original_max_position_embeddings"]) for each in longropes}))


class LengthClassForward(ForwardAround):
    """A forward pass that runs texts of different length classes apart.

    Args:
        forward: of one class; its model is a decoder with a linear head.
        borders: see `class_borders`; at least one.
    """

    def __init__(self, forward: Forward, borders: Sequence[int]) -> None:
        super().__init__(forward)
        self._borders = tuple(borders)

    @property
    def reason(self) -> str:
        """See `Forward`."""
        borders = " and ".join(map(str, self._borders))
        return f"{self._forward.reason}; texts up to {borders} tokens apart from longer ones"

    def cached_tokens(self, text: Encoded) -> int:
        """See `Forward`."""
        return self._forward.cached_tokens(self._of_class(text))

    def rewards(self, texts: Sequence[Encoded]) -> list[list[float]]:
        """Raw rewards, (total reads, heads); see `Forward.rewards`."""
        by_text: list[list[list[float]]] = [[] for _ in texts]
        for members in self._classes(texts):
            own = self._whole([texts[index] for index in members])
            found = iter(self._forward.rewards(own))
            for index, text in zip(members, own, strict=True):
                rows = list(islice(found, 1 + len(text.extra_positions)))
                by_text[index] = rows[: 1 + len(texts[index].extra_positions)]
        return [row for rows in by_text for row in rows]

    def plan_ahead(self, texts: Sequence[Encoded]) -> None:
        """Plan where the next forward takes these texts as they are: all of the first class."""
        if all(self._class_of(text) == 0 for text in texts):
            self._forward.plan_ahead(list(map(self._of_class, texts)))

    def states(self, texts: Sequence[Encoded], reads: Sequence[Sequence[int]]) -> Tensor:
        """See `Forward`."""
        by_text: list[list[Tensor]] = [[] for _ in texts]
        for members in self._classes(texts):
            own = [self._of_class(texts[index]) for index in members]
            # The last token is read too, so that a text is run to its end; see `_stops_short`.
            wanted = [
                [*reads[i], text.num_tokens - 1] for i, text in zip(members, own, strict=True)
            ]
            found = iter(self._forward.states(own, wanted))
            for index, positions in zip(members, wanted, strict=True):
                by_text[index] = list(islice(found, len(positions)))[:-1]
        rows = [row for own in by_text for row in own]
        return torch.stack(rows) if rows else torch.empty(0, 0)

    def _classes(self, texts: Sequence[Encoded]) -> list[list[int]]:
        """Indices of the texts of each class that is there."""
        classes: dict[int, list[int]] = {}
        for index, text in enumerate(texts):
            classes.setdefault(self._class_of(text), []).append(index)
        return list(classes.values())

    def _class_of(self, text: Encoded) -> int:
        return sum(text.num_tokens > border for border in self._borders)

    def _stops_short(self, text: Encoded) -> bool:
        """Whether the part that is read would be of another class than the whole text."""
        read = max(reads_of(text))
        return self._class_of(text) != sum(read + 1 > border for border in self._borders)

    def _whole(self, texts: Sequence[Encoded]) -> list[Encoded]:
        """The same texts, read at their last token as well where they would stop short."""
        return [
            replace(
                text,
                extra_positions=(
                    *text.extra_positions,
                    ReadPosition(text.num_tokens - 1, 0, 0, ""),
                ),
            )
            if self._stops_short(text)
            else text
            for text in map(self._of_class, texts)
        ]

    def _of_class(self, text: Encoded) -> Encoded:
        """The same text in a scope of its class: by other frequencies it has other keys."""
        return replace(text, cache_scope=text.cache_scope + bytes([self._class_of(text)]))
