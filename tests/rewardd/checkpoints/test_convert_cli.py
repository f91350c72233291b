"""`rewardd convert` on the command line: what it says, and how it refuses."""

from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

from rewardd.checkpoints import convert_cli
from rewardd.checkpoints.convert.run import TARGETS
from rewardd.checkpoints.convert.source import LAYOUT_NAMES
from rewardd.cli import app
from rm_core.checkpoint.heads import ACTIVATIONS
from tests.rewardd.checkpoints.convert import foreign


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["convert", *arguments])
    return result.exit_code, result.output


def test_a_conversion_says_how_texts_are_read_and_how_equal_scores_are(tmp_path: Path) -> None:
    source = foreign.llama_factory(tmp_path / "source")

    status, output = run(str(source.directory), str(tmp_path / "ours"), "--role", "safety")

    assert status == 0, output
    assert "llama-factory → rewardd" in output
    assert "read at last_token" in output
    assert "largest difference" in output


def test_a_constant_that_is_lost_is_told(tmp_path: Path) -> None:
    source = foreign.llama_factory(tmp_path / "source")

    status, output = run(str(source.directory), str(tmp_path / "p"), "--to", "transformers")

    assert status == 0, output
    assert "lower by the constant 1.5" in output


def test_pickles_are_read_with_a_warning(tmp_path: Path) -> None:
    source = foreign.deepspeed_chat(tmp_path / "source")
    command = [str(source.directory), str(tmp_path / "ours"), "--role", "safety"]

    refused, why = run(*command)
    status, output = run(*command, "--allow-pickle", "--no-verify")

    assert (refused, status) == (1, 0), output
    assert "--allow-pickle" in why
    assert "warning:" in output
    assert "not compared" in output


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--from", "gpt"),
        ("--to", "gpt"),
        ("--role", "x"),
        ("--read", "x"),
        ("--head-activation", "x"),
    ],
)
def test_a_word_that_is_no_choice_is_refused(flag: str, value: str, tmp_path: Path) -> None:
    status, output = run(str(tmp_path), str(tmp_path / "out"), flag, value)

    assert status == 2
    assert flag in output


def test_the_words_of_the_command_are_those_that_are_converted() -> None:
    assert get_args(convert_cli.LayoutName) == LAYOUT_NAMES
    assert get_args(convert_cli.Target) == TARGETS
    assert get_args(convert_cli.HeadActivation) == tuple(ACTIVATIONS)
