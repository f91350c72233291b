"""What every forward pass offers: rewards of encoded texts, and how it is run."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from rm_core.types import Encoded

SELF_TEST_TOLERANCE = 1e-4


REDUCED_PRECISION_TOLERANCE = 0.05


TRIAL_ERRORS = (TypeError, ValueError, RuntimeError, AttributeError, LookupError)
"""What a model raises whose attention, or whose parts, are not what they seem."""


class Forward(Protocol):
    """A way to run a trunk and the heads on it."""

    @property
    def path(self) -> str:
        """The way's name: "packed" or "padded"."""
        ...

    @property
    def reason(self) -> str:
        """Why this way was taken, for /v1/info and the log."""
        ...

    @property
    def shares_prefixes(self) -> bool:
        """Whether common prefixes are computed once."""
        ...

    @property
    def reads_positions(self) -> bool:
        """Whether rewards can be read within a text: a causal model with linear heads."""
        ...

    def rewards(self, texts: Sequence[Encoded]) -> list[list[float]]:
        """Raw rewards in order, (texts, heads), float32 values."""
        ...

    def rewards_at_positions(self, texts: Sequence[Encoded]) -> list[list[list[float]]]:
        """Raw rewards of the read position and of each place, (texts, 1 + places, heads)."""
        ...

    def plan_ahead(self, texts: Sequence[Encoded], *, places: bool) -> None:
        """Do beforehand what the next forward of exactly these texts needs.

        Args:
            texts: of the coming forward.
            places: whether `rewards_at_positions` will be asked, else `rewards`.
        """
        ...

    def states(self, texts: Sequence[Encoded], reads: Sequence[Sequence[int]]) -> Tensor:
        """What a head reads at positions of one's choice.

        Args:
            texts: what to run; their own read positions don't matter.
            reads: of each text, positions in its ids, at least one. Of a model that reads a text as
                a whole, for which `reads_positions` does not hold, the one read position alone.

        Returns:
            (total reads, hidden), in the trunk's dtype on its device: texts in order, then each
            one's reads. An inference tensor: a copy can be trained on, itself it can't.

        Raises:
            ConfigurationError: positions within a text that is read as a whole.
        """
        ...


def random_texts(model: Any, max_length: int, *, count: int) -> list[Encoded]:
    """Random texts that would show a neighbour's influence: shared prefixes, several lengths."""
    longest = min(max_length, 80)
    generator = torch.Generator().manual_seed(0)
    vocabulary = model.config.get_text_config().vocab_size
    ids = torch.randint(0, vocabulary, (count, longest), generator=generator).tolist()
    shared = longest // 2
    rows = [ids[0], ids[0][:shared] + ids[1][shared:], ids[2][: longest // 3], ids[3][:1]]
    return [Encoded(tuple(row), len(row) - 1) for row in (*rows, *ids[4:])]
