"""What tests ask of an engine's rewards."""

from collections.abc import Sequence
from typing import Any

import torch

from rm_core.text.encoder import TextEncoder
from rm_core.types import Dialogue, EncodedItem, ModelName, Scorer


def own_rewards(scorer: Scorer, items: Sequence[EncodedItem]) -> list[dict[ModelName, float]]:
    """Each item's raw reward at its read position, by model."""
    return [
        {name: rewards[0] for name, rewards in found.items()} for found in scorer.forward(items)
    ]


def reward_alone(model: Any, encoder: TextEncoder, prompt: str, response: str) -> float:
    """The raw reward that transformers' own forward gives a text by itself."""
    ids = encoder.encode(Dialogue(prompt, response)).input_ids
    with torch.inference_mode():
        return float(model(input_ids=torch.tensor([ids])).logits)
