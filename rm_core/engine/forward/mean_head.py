"""Heads that average: a response's reward as the mean of the rewards at its tokens.

With a linear head that is the head of the mean hidden state. Any way to run a trunk that can read
places serves such a head; this one asks it for the response's tokens and takes their mean.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from rm_core.engine.forward.base import Forward
from rm_core.text.positions import response_positions
from rm_core.types import Encoded, ReadPosition


class AveragingForward:
    """A way to run a trunk, of whose heads some average over the response.

    Args:
        forward: the way; its heads must be linear and read tokens.
        averages: of each head, whether it averages.
    """

    def __init__(self, forward: Forward, averages: Sequence[bool]) -> None:
        self._forward = forward
        self._averages = tuple(averages)

    @property
    def path(self) -> str:
        """See `Forward`."""
        return self._forward.path

    @property
    def reason(self) -> str:
        """See `Forward`."""
        return self._forward.reason

    @property
    def shares_prefixes(self) -> bool:
        """See `Forward`."""
        return self._forward.shares_prefixes

    @property
    def reads_positions(self) -> bool:
        """See `Forward`."""
        return self._forward.reads_positions

    def rewards(self, texts: Sequence[Encoded]) -> list[list[float]]:
        """Raw rewards in order, (texts, heads); see `Forward`."""
        bare = [
            replace(text, extra_positions=()) if text.extra_positions else text for text in texts
        ]
        return [own for own, *_ in self.rewards_at_positions(bare)]

    def rewards_at_positions(self, texts: Sequence[Encoded]) -> list[list[list[float]]]:
        """Raw rewards of the response and of each place, (texts, 1 + places, heads)."""
        read = self._forward.rewards_at_positions([_with_response(text) for text in texts])
        return [self._gathered(text, rows) for text, rows in zip(texts, read, strict=True)]

    def plan_ahead(self, texts: Sequence[Encoded], *, places: bool) -> None:
        """Nothing to do: what is planned is made of the texts in the forward itself."""

    def states(self, texts: Sequence[Encoded], reads: Sequence[Sequence[int]]) -> Tensor:
        """See `Forward`."""
        return self._forward.states(texts, reads)

    def _gathered(self, text: Encoded, rows: Sequence[list[float]]) -> list[list[float]]:
        """The rows of a text that `_with_response` was read of: reward and places."""
        own, *further = rows
        places, response = (
            further[: len(text.extra_positions)],
            further[len(text.extra_positions) :],
        )
        reward = [
            math.fsum(row[head] for row in response) / len(response) if averages else own[head]
            for head, averages in enumerate(self._averages)
        ]
        return [reward, *places]


def _with_response(text: Encoded) -> Encoded:
    """The same text, read also at every token of its response, behind the places asked for."""
    tokens = tuple(ReadPosition(position, 0, 0, "") for position in response_positions(text))
    return replace(text, extra_positions=(*text.extra_positions, *tokens))
