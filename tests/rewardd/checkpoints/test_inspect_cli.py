"""`rewardd inspect`: a report for people, one for programs, and a status for scripts."""

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from rewardd.checkpoints import inspect_cli
from rewardd.cli import app
from tests.models import save_checkpoint


@pytest.fixture(autouse=True)
def untried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No child is started, which takes seconds; tests/chaos has a checkpoint tried."""
    monkeypatch.setattr(inspect_cli, "Trial", nullcontext)


def test_a_sound_checkpoint_is_described_and_ends_well(tmp_path: Path) -> None:
    directory = save_checkpoint(tmp_path / "model")

    result = CliRunner().invoke(app, ["inspect", str(directory)])

    assert result.exit_code == 0, result.output
    for word in (
        "LlamaForSequenceClassification",
        "score.weight [1, 32]",
        "packed",
        "last_non_pad",
    ):
        assert word in result.output
    assert result.output.rstrip().endswith("sound")


def test_an_unsound_one_ends_with_status_one_and_says_why(tmp_path: Path) -> None:
    directory = save_checkpoint(tmp_path / "model")
    weights = load_file(directory / "model.safetensors")
    weights["score.weight"].zero_()
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})

    result = CliRunner().invoke(app, ["inspect", str(directory), "--json", "--no-load"])

    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["sound"] is False
    assert [finding["code"] for finding in report["findings"]] == ["head_is_zero"]


def test_a_directory_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["inspect", str(tmp_path / "absent")])

    assert result.exit_code == 1
    assert "error: there is no directory" in result.output
