import json
import shlex
from pathlib import Path

import pytest

from rewardd.demo.models import SAMPLE
from tests.training.cli.commands import rewardd

DATA = str(SAMPLE / "safety.jsonl")


def test_train_writes_a_checkpoint_and_shows_the_baselines(
    tiny_base: Path, preferences: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('role = "helpfulness"\nbatch_size = 4\nmargins = "large"\n')
    arguments = ["train", "--config", str(recipe), "--role", "safety", "--data", str(preferences)]
    arguments += ["--base", str(tiny_base), "--output", str(output), "--epochs", "1"]
    code, shown = rewardd(*arguments)
    assert code == 0, shown
    for words in ("longer wins", "shorter wins", "bag of words", "held-out"):
        assert words in shown
    manifest = json.loads((output / "reward_model.json").read_text())
    assert (manifest["role"], manifest["training"]["margins"]) == ("safety", "large")

    code, shown = rewardd(*arguments)
    assert code == 1
    assert "--overwrite" in shown


def test_too_few_updates_are_told_with_a_command_that_makes_enough(
    tiny_base: Path, preferences: Path, tmp_path: Path
) -> None:
    arguments = ["train", "--role", "safety", "--data", str(preferences), "--no-packing"]
    arguments += ["--base", str(tiny_base), "--output", str(tmp_path / "my model"), "--no-report"]

    code, shown = rewardd(*arguments)
    assert code == 0, shown
    assert "warning: 24 examples make only 1 update;" in shown
    command = shlex.split(shown[shown.index("rewardd train") :].partition(" loading ")[0])
    code, shown = rewardd(*command[1:])

    assert code == 0, shown
    assert "51 updates" in shown
    assert "warning" not in shown
    training = json.loads((tmp_path / "my model" / "reward_model.json").read_text())["training"]
    assert (training["packing"], training["report"], training["role"]) == (False, False, "safety")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train"], "missing --role, --data, --base, --output"),
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
    arguments: list[str], words: str
) -> None:
    code, shown = rewardd(*arguments)
    assert code == 1
    assert words in shown
    assert "Traceback" not in shown


def test_make_base_makes_a_language_model(preferences: Path, tmp_path: Path) -> None:
    arguments = ["make-base", "--data", str(preferences), "--output", str(tmp_path / "lm")]
    arguments += ["--hidden", "32", "--layers", "1", "--epochs", "1", "--vocabulary", "400"]
    code, shown = rewardd(*arguments)
    assert code == 0, shown
    assert (tmp_path / "lm" / "model.safetensors").is_file()
