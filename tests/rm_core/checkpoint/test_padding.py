"""A pad token without an embedding is left out where the model is built."""

import json
from pathlib import Path
from typing import Any

import pytest

from rm_core.checkpoint.padding import without_unknown_pad


@pytest.mark.parametrize(
    ("config", "options"),
    [
        ({"vocab_size": 9, "pad_token_id": 8}, {}),
        ({"vocab_size": 9, "pad_token_id": 9}, {"pad_token_id": None}),
        ({"vocab_size": 9, "pad_token_id": -1}, {}),  # transformers builds that one
        ({"vocab_size": 9, "pad_token_id": None}, {}),
        ({"pad_token_id": 9}, {}),
        ([], {}),
    ],
)
def test_only_a_token_beyond_the_vocabulary_is_left_out(
    config: Any, options: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))

    assert without_unknown_pad(tmp_path) == options


def test_a_configuration_that_can_not_be_read_is_said_elsewhere(tmp_path: Path) -> None:
    assert without_unknown_pad(tmp_path) == {}
    (tmp_path / "config.json").write_text("{")
    assert without_unknown_pad(tmp_path) == {}
