"""The trial that a packed forward must pass: it gives the rewards of each text alone."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from rm_core.types import Encoded

Made = TypeVar("Made")

SELF_TEST_TOLERANCE = 1e-4
REDUCED_PRECISION_TOLERANCE = 0.05

TRIAL_ERRORS = (TypeError, ValueError, RuntimeError, AttributeError, LookupError)
"""What a model raises whose attention, or whose parts, are not what they seem."""


def random_texts(model: Any, max_length: int, *, count: int) -> list[Encoded]:
    """Random texts that would show a neighbour's influence: shared prefixes, several lengths."""
    longest = min(max_length, 80)
    generator = torch.Generator().manual_seed(0)
    vocabulary = model.config.get_text_config().vocab_size
    ids = torch.randint(0, vocabulary, (count, longest), generator=generator).tolist()
    shared = longest // 2
    rows = [ids[0], ids[0][:shared] + ids[1][shared:], ids[2][: longest // 3], ids[3][:1]]
    return [Encoded(tuple(row), len(row) - 1) for row in (*rows, *ids[4:])]


def tried(
    make: Callable[[], Made], rewards: Callable[[Made], Tensor], alone: Tensor, *, exact: bool
) -> Made | str:
    """Make a packed forward and compare its rewards with those of each text alone.

    Args:
        make: gives the packed forward.
        rewards: what it gives for `random_texts`.
        alone: their rewards, each run alone by transformers' own path; of the same shape.
        exact: whether both ways compute in float32; in reduced precision they round differently.

    Returns:
        What was made; where it can't be used, the reason.
    """
    try:
        made = make()
        found = rewards(made)
    except TRIAL_ERRORS as error:
        return f"the packed way raised {type(error).__name__}"
    worst = float(((alone - found).abs() / (1 + alone.abs())).max())
    if worst <= (SELF_TEST_TOLERANCE if exact else REDUCED_PRECISION_TOLERANCE):  # false for NaN
        return made
    return f"packed rewards differ by {worst:.1e} from those of each text alone"
