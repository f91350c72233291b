"""The interface of the engine, and what it gives."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rm_core.types.caches import EngineCacheStats
from rm_core.types.names import ModelName
from rm_core.types.profiles import ModelProfile
from rm_core.types.texts import EncodedItem, RewardInput, Truncation

ItemRewards = dict[ModelName, tuple[float, ...]]
"""Raw rewards of one item by model: at its read position, then at each extra position."""


class Scorer(Protocol):
    """What the service needs of the engine; tests give it a fake.

    `encode` is thread-safe and runs off the event loop; `forward` is called from one thread only;
    what asks the caches is thread-safe and cheap.
    """

    @property
    def model_names(self) -> tuple[ModelName, ...]:
        """The loaded models, at least one, in their order."""
        ...

    @property
    def shares_prefixes(self) -> bool:
        """Whether a pack's common prefixes are computed once, so that they cost only once."""
        ...

    @property
    def profiles(self) -> Mapping[ModelName, ModelProfile]:
        """What is known of the loaded models, in their order."""
        ...

    def encode(self, dialogue: RewardInput, *, truncate: Truncation = "error") -> EncodedItem:
        """Turn a dialogue (or a text rendered from one) into token ids for every model.

        Raises:
            InputError: this dialogue can't be scored; others can.
        """
        ...

    def forward(self, items: Sequence[EncodedItem]) -> list[ItemRewards]:
        """Raw rewards of each item, in order; one may be non-finite, which the caller handles.

        Raises:
            OutOfMemory: the items don't fit the device together; the caller splits.
            EngineError: the forward failed.
        """
        ...

    def plan_ahead(self, items: Sequence[EncodedItem]) -> None:
        """Do what can be done before a forward of exactly these items; beside another forward."""
        ...

    def cached_tokens(self, item: EncodedItem) -> int:
        """How many leading tokens of its longest encoding a forward now would not compute.

        Keys and values of them are kept, in every trunk that reads the item. Told from what is
        kept at the moment, which may be gone when the forward comes.
        """
        ...

    def cached_rewards(self, item: EncodedItem) -> ItemRewards | None:
        """What `forward` gave for an equal item before, bit for bit; None where that isn't kept."""
        ...

    def cache_stats(self) -> EngineCacheStats:
        """Sizes and counts of the caches."""
        ...

    def describe(self) -> dict[str, Any]:
        """What is loaded and how it is run, as JSON values, for /v1/info."""
        ...
