"""The interface of a trunk's forward pass: rewards of encoded texts, and how they are computed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from rm_core.engine.prefix_cache import PrefixCache
from rm_core.engine.trunk.products.choose import ProductChoice
from rm_core.errors import ConfigurationError, InputError
from rm_core.types import Encoded


@dataclass(frozen=True, slots=True)
class TextDemands:
    """What a text must have, so that a model can read it at all; found out by trying.

    Attributes:
        fewest_tokens: that it may have; models that pool neighbours need more than one.
        required_token: an id that it must hold, as the model reads there; None for none.
    """

    fewest_tokens: int = 1
    required_token: int | None = None

    def check(self, text: Encoded) -> None:
        """Refuse a text that the model can't read.

        Raises:
            InputError: it is too short, or lacks the token.
        """
        if text.num_tokens < self.fewest_tokens:
            raise InputError(
                f"the model reads no text of fewer than {self.fewest_tokens} tokens, and this one "
                f"has {text.num_tokens}"
            )
        if self.required_token is not None and self.required_token not in text.input_ids:
            raise InputError(
                f"the model reads a text at its end-of-text token (id {self.required_token}), and "
                "this one has none; let the tokenizer add it"
            )


NO_DEMANDS = TextDemands()


class Forward(Protocol):
    """The forward pass of a trunk and the heads on it."""

    @property
    def path(self) -> str:
        """The way's name: "packed", "padded", "equal_lengths" or "one_by_one"."""
        ...

    @property
    def reason(self) -> str:
        """Why this way was taken, for /v1/info and the log."""
        ...

    @property
    def attention(self) -> str:
        """What computes attention, and why, for /v1/info and the log."""
        ...

    @property
    def shares_prefixes(self) -> bool:
        """Whether common prefixes are computed once."""
        ...

    @property
    def reads_positions(self) -> bool:
        """Whether rewards can be read within a text: a causal model with linear heads."""
        ...

    @property
    def demands(self) -> TextDemands:
        """What a text must have, so that the model can read it at all."""
        ...

    @property
    def products(self) -> ProductChoice:
        """What multiplies the trunk's linear layers."""
        ...

    @property
    def prefix_cache(self) -> PrefixCache | None:
        """What it keeps of texts from one forward to the next; None where it keeps nothing."""
        ...

    @property
    def prefix_cache_reason(self) -> str:
        """Why it keeps keys and values, or keeps nothing, for /v1/info."""
        ...

    def cached_tokens(self, text: Encoded) -> int:
        """How many leading tokens a forward now would not compute; from any thread."""
        ...

    def rewards(self, texts: Sequence[Encoded]) -> list[list[float]]:
        """Raw rewards at the positions where texts are read, float32 values.

        Returns:
            (total reads, heads): texts in order, of each its read position, then its extra ones.

        Raises:
            ConfigurationError: extra positions in a text that is read as a whole.
        """
        ...

    def plan_ahead(self, texts: Sequence[Encoded]) -> None:
        """Do beforehand what the next forward of exactly these texts needs."""
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


class ForwardAround:
    """What a forward pass around another one tells of itself: what the other tells.

    Args:
        forward: the other one.
    """

    def __init__(self, forward: Forward) -> None:
        self._forward = forward

    @property
    def path(self) -> str:
        """See `Forward`."""
        return self._forward.path

    @property
    def reason(self) -> str:
        """See `Forward`."""
        return self._forward.reason

    @property
    def attention(self) -> str:
        """See `Forward`."""
        return self._forward.attention

    @property
    def shares_prefixes(self) -> bool:
        """See `Forward`."""
        return self._forward.shares_prefixes

    @property
    def reads_positions(self) -> bool:
        """See `Forward`."""
        return self._forward.reads_positions

    @property
    def demands(self) -> TextDemands:
        """See `Forward`."""
        return self._forward.demands

    @property
    def products(self) -> ProductChoice:
        """See `Forward`."""
        return self._forward.products

    @property
    def prefix_cache(self) -> PrefixCache | None:
        """See `Forward`."""
        return self._forward.prefix_cache

    @property
    def prefix_cache_reason(self) -> str:
        """See `Forward`."""
        return self._forward.prefix_cache_reason

    def cached_tokens(self, text: Encoded) -> int:
        """See `Forward`."""
        return self._forward.cached_tokens(text)


class KeepsNothing:
    """What a forward pass that keeps nothing of its texts tells of a prefix cache."""

    prefix_cache = None

    @property
    def prefix_cache_reason(self) -> str:
        """See `Forward`."""
        return "only packed decoders read what was computed before"

    def cached_tokens(self, text: Encoded) -> int:
        """See `Forward`."""
        del text
        return 0


_NO_MEMORY = ("can't allocate memory", "not enough memory", "bad_alloc")
"""Torch's words where the CPU has none left: its allocator's on Linux and elsewhere, and C++'s."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether a forward failed as its texts don't fit the device, or memory, together."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)
    )


def reads_of(text: Encoded) -> list[int]:
    """Where a text is read: its read position, then its extra ones."""
    return [text.read_position, *(at.position for at in text.extra_positions)]


def require_whole(model: Any, texts: Sequence[Encoded], reads: Sequence[Sequence[int]]) -> None:
    """Refuse reads within texts of a model that reads a text as a whole.

    Raises:
        ConfigurationError: a text is read elsewhere than at its own read position, or twice.
    """
    if any(list(own) != [text.read_position] for text, own in zip(texts, reads, strict=True)):
        raise ConfigurationError(
            f"{type(model).__name__} reads a text as a whole; its head can't be read at tokens of "
            "one's choice"
        )
