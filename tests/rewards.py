"""What tests ask of an engine's rewards."""

from collections.abc import Sequence

from rm_core.types import EncodedItem, ModelName, Scorer


def own_rewards(scorer: Scorer, items: Sequence[EncodedItem]) -> list[dict[ModelName, float]]:
    """Each item's raw reward at its read position, by model."""
    return [
        {name: rewards[0] for name, rewards in found.items()} for found in scorer.forward(items)
    ]
