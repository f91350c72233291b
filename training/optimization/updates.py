"""How many updates a training makes, and with which settings it would make enough of them."""

import math
from collections.abc import Mapping
from dataclasses import replace

from training.config import TrainingConfig

ENOUGH_UPDATES = 50
"""Fewer hardly move a model at the usual rates: the warm-up alone takes five."""

_SMALLEST_UPDATE = 8  # prompts; below it the gradient is mostly noise, so epochs are added instead


def num_updates(config: TrainingConfig, num_examples: int, processes: int = 1) -> int:
    """Updates of a whole training.

    Args:
        config: the recipe.
        num_examples: examples in one epoch.
        processes: how many train together; each takes `batch_size` prompts at a time.
    """
    batches = math.ceil(math.ceil(num_examples / config.batch_size) / processes)
    return max(1, math.ceil(math.ceil(batches / config.gradient_accumulation) * config.epochs))


def settings_for_enough(
    config: TrainingConfig, num_examples: int, processes: int = 1
) -> Mapping[str, int]:
    """The settings that must change for `ENOUGH_UPDATES`: smaller updates, then more epochs.

    Args:
        config: the recipe.
        num_examples: examples in one epoch.
        processes: how many train together.

    Returns:
        New values by name; empty where the updates are enough already.
    """
    changed = config
    while num_updates(changed, num_examples, processes) < ENOUGH_UPDATES:
        smaller = _with_smaller_updates(changed, processes)
        if smaller is None:
            break
        changed = smaller
    if num_updates(changed, num_examples, processes) < ENOUGH_UPDATES:
        in_one_epoch = num_updates(replace(changed, epochs=1.0), num_examples, processes)
        changed = replace(changed, epochs=math.ceil(ENOUGH_UPDATES / in_one_epoch))
    names = ("batch_size", "gradient_accumulation", "epochs")
    return {
        name: int(getattr(changed, name))
        for name in names
        if getattr(changed, name) != getattr(config, name)
    }


def few_updates_warning(
    updates: int, num_examples: int, settings: Mapping[str, int], command: str
) -> str:
    """What a person is told of a training with too few updates.

    Args:
        updates: that it makes.
        num_examples: examples in one epoch.
        settings: what would have to change.
        command: does the same training with them.
    """
    advice = " (the same examples that often: watch the held-out accuracy, or find more data)"
    return (
        f"warning: {num_examples} examples make only {updates} "
        f"update{'s' if updates > 1 else ''}; below about {ENOUGH_UPDATES} a model hardly learns. "
        f"This goes on; with enough of them{advice if settings.get('epochs', 0) > 3 else ''}:\n"
        f"{command}"
    )


def _with_smaller_updates(config: TrainingConfig, processes: int) -> TrainingConfig | None:
    """Half as many prompts in an update; None where they are as few as they should be."""
    prompts = config.batch_size * config.gradient_accumulation * processes
    if prompts < 2 * _SMALLEST_UPDATE:
        return None
    if config.gradient_accumulation > 1:
        return replace(config, gradient_accumulation=config.gradient_accumulation // 2)
    return replace(config, batch_size=config.batch_size // 2)
