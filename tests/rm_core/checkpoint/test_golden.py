"""What a maker saw is kept beside the weights, and anything else there is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from rm_core.checkpoint.golden import GOLDEN_NAME, GoldenReward, read_golden, write_golden
from rm_core.errors import CheckpointError

REWARDS = [GoldenReward("Wie?", "Ä 🍎", 1.25), GoldenReward("a", "b", -3.5)]


def test_what_was_written_is_read(tmp_path: Path) -> None:
    assert read_golden(tmp_path) == ()
    write_golden(tmp_path, [])
    assert list(tmp_path.iterdir()) == []

    write_golden(tmp_path, REWARDS)

    assert read_golden(tmp_path) == tuple(REWARDS)


@pytest.mark.parametrize(
    "rewards",
    [
        None,
        [],
        "abc",
        [1],
        [{"prompt": "a", "response": "b"}],
        [{"prompt": "a", "response": "b", "reward": "1"}],
        [{"prompt": "a", "response": "b", "reward": float("nan")}],
        [{"prompt": ["a"], "response": "b", "reward": 1.0}],
        [{"prompt": "a", "response": "b", "reward": 1.0}] * 65,
    ],
)
def test_anything_else_is_refused(tmp_path: Path, rewards: Any) -> None:
    (tmp_path / GOLDEN_NAME).write_text(json.dumps({"rewards": rewards}))

    with pytest.raises(CheckpointError, match="golden_rewards"):
        read_golden(tmp_path)
