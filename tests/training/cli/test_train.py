import json
import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from rewardd.demo.models import SAMPLE
from training.cli.train import register

DATA = str(SAMPLE / "safety.jsonl")


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    register(app)
    return app


def shown(text: str) -> str:
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())


def test_train_writes_a_checkpoint_and_shows_the_baselines(
    app: typer.Typer, tiny_base: Path, preferences: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('role = "helpfulness"\nbatch_size = 4\nmargins = "large"\n')
    arguments = ["train", "--config", str(recipe), "--role", "safety", "--data", str(preferences)]
    arguments += ["--base", str(tiny_base), "--output", str(output), "--epochs", "1"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    for words in ("longer wins", "shorter wins", "bag of words", "held-out"):
        assert words in shown(result.output)
    manifest = json.loads((output / "reward_model.json").read_text())
    assert (manifest["role"], manifest["training"]["margins"]) == ("safety", "large")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train"], "missing --role, --base, --output"),
        (["train", "--role", "harm", "--base", "b", "--output", "o", "--data", "d"], "role"),
        (
            ["train", "--role", "safety", "--base", "/absent", "--output", "o", "--data", DATA],
            "no directory /absent",
        ),
        (
            ["train", "--role", "safety", "--base", "b", "--output", "o", "--data", "d"],
            "d does not",
        ),
        (["make-base", "--data", "/absent.jsonl", "--output", "o"], "/absent.jsonl"),
    ],
)
def test_a_wrong_call_ends_with_one_line_that_says_what_to_do(
    app: typer.Typer, arguments: list[str], words: str
) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert words in shown(result.output)
    assert "Traceback" not in result.output


def test_make_base_makes_a_language_model(
    app: typer.Typer, preferences: Path, tmp_path: Path
) -> None:
    arguments = ["make-base", "--data", str(preferences), "--output", str(tmp_path / "lm")]
    arguments += ["--hidden", "32", "--layers", "1", "--epochs", "1", "--vocabulary", "400"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "lm" / "model.safetensors").is_file()
