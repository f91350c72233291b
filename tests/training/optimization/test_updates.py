from dataclasses import replace

import pytest

from tests.training.small_trainings import recipe
from training.optimization.updates import (
    ENOUGH_UPDATES,
    few_updates_warning,
    num_updates,
    settings_for_enough,
)


@pytest.mark.parametrize(
    ("num_examples", "batch_size", "accumulation", "epochs", "processes", "updates"),
    [
        (64, 8, 8, 1.0, 1, 1),
        (65, 8, 8, 1.0, 1, 2),
        (64, 8, 8, 0.5, 1, 1),
        (640, 8, 1, 2.0, 1, 160),
        (640, 8, 1, 2.0, 2, 80),
    ],
)
def test_updates_are_counted_as_the_trainer_counts_them(
    num_examples: int,
    batch_size: int,
    accumulation: int,
    epochs: float,
    processes: int,
    updates: int,
) -> None:
    config = recipe(batch_size=batch_size, gradient_accumulation=accumulation, epochs=epochs)

    assert num_updates(config, num_examples, processes) == updates


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("num_examples", [1, 7, 24, 100, 399, 400, 800, 3199, 3200])
def test_the_settings_that_are_advised_make_enough(num_examples: int, processes: int) -> None:
    config = recipe(batch_size=8, gradient_accumulation=8)

    settings = settings_for_enough(config, num_examples, processes)

    changed = replace(config, **settings)
    assert num_updates(changed, num_examples, processes) >= ENOUGH_UPDATES
    assert bool(settings) == (num_updates(config, num_examples, processes) < ENOUGH_UPDATES)


def test_smaller_updates_come_before_more_epochs() -> None:
    config = recipe(batch_size=8, gradient_accumulation=8)

    assert settings_for_enough(config, 3200) == {}
    assert settings_for_enough(config, 1600) == {"gradient_accumulation": 4}
    assert settings_for_enough(config, 400) == {"gradient_accumulation": 1}
    assert settings_for_enough(config, 100) == {"gradient_accumulation": 1, "epochs": 4}


def test_the_warning_says_what_many_epochs_cost() -> None:
    few = few_updates_warning(1, 24, {"epochs": 17}, "rewardd train …")
    more = few_updates_warning(25, 1600, {"gradient_accumulation": 4}, "rewardd train …")

    assert "24 examples make only 1 update;" in few
    assert "held-out" in few
    assert "only 25 updates;" in more
    assert "held-out" not in more
    assert more.endswith("\nrewardd train …")
