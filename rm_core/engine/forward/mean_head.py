"""A forward for mean heads: a response's reward is the mean of the rewards at its tokens.

With a linear head that is the head of the mean hidden state. Any way to run a trunk that can read
positions serves such a head; this one asks it for the response's tokens and takes their mean.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

from torch import Tensor

from rm_core.engine.forward.base import Forward, ForwardAround
from rm_core.text.positions import response_positions
from rm_core.types import Encoded, ReadPosition


class AveragingForward(ForwardAround):
    """A forward pass of whose heads some average over the response.

    Args:
        forward: of the heads at tokens; its heads must be linear and read tokens.
        averages: of each head, whether it averages.
    """

    def __init__(self, forward: Forward, averages: Sequence[bool]) -> None:
        super().__init__(forward)
        self._averages = tuple(averages)

    def cached_tokens(self, text: Encoded) -> int:
        """See `Forward`: a response is read from its first token on, so it is computed."""
        return self._forward.cached_tokens(_with_response(text))

    def rewards(self, texts: Sequence[Encoded]) -> list[list[float]]:
        """Raw rewards, (total reads, heads): of the response, then at its extra positions."""
        read = [_with_response(text) for text in texts]
        found = iter(self._forward.rewards(read))
        rewards: list[list[float]] = []
        for text, wider in zip(texts, read, strict=True):
            rewards += self._gathered(text, list(islice(found, 1 + len(wider.extra_positions))))
        return rewards

    def plan_ahead(self, texts: Sequence[Encoded]) -> None:
        """Nothing to do: what is planned is made of the texts in the forward itself."""

    def states(self, texts: Sequence[Encoded], reads: Sequence[Sequence[int]]) -> Tensor:
        """See `Forward`."""
        return self._forward.states(texts, reads)

    def _gathered(self, text: Encoded, rows: Sequence[list[float]]) -> list[list[float]]:
        """The rows of a text that `_with_response` was read of: reward and extra positions."""
        own, *further = rows
        num_extra = len(text.extra_positions)
        extra, response = further[:num_extra], further[num_extra:]
        reward = [
            math.fsum(row[head] for row in response) / len(response) if averages else own[head]
            for head, averages in enumerate(self._averages)
        ]
        return [reward, *extra]


def _with_response(text: Encoded) -> Encoded:
    """The same text, read also at every token of its response, behind the positions asked for."""
    tokens = tuple(ReadPosition(position, 0, 0, "") for position in response_positions(text))
    return replace(text, extra_positions=(*text.extra_positions, *tokens))
