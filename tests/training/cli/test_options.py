import subprocess
import sys
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from training.cli.options import with_training_options
from training.config import TrainingConfig, load_config

NEEDED = ("--role", "safety", "--data", "d", "--base", "b", "--output", "o")


def given(*arguments: str) -> dict[str, Any]:
    """What a command with these options is called with."""
    app, seen = typer.Typer(), {}

    @app.command()
    @with_training_options
    def command(**flags: Any) -> None:
        seen.update(flags)

    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return seen


def test_what_is_not_given_is_left_to_the_file_and_the_defaults() -> None:
    assert set(given().values()) == {None}


@pytest.mark.parametrize(
    ("arguments", "setting", "value"),
    [
        (("--epochs", "2"), "epochs", 2.0),
        (("--batch-size", "4"), "batch_size", 4),
        (("--no-packing",), "packing", False),
        (("--resume",), "resume", True),
        (("--trainable", "lora"), "trainable", "lora"),
        (("--margins", "large"), "margins", "large"),
        (("--objective", "hinge"), "objectives", {"hinge": 1.0}),
        (("--lora-target-modules", "q_proj"), "lora_target_modules", ("q_proj",)),
        (("--reference", "x", "--reference", "y"), "reference", ("x", "y")),
        (("--max-malformed", "3"), "max_malformed", 3),
    ],
)
def test_every_kind_of_setting_is_a_flag(
    arguments: tuple[str, ...], setting: str, value: object
) -> None:
    flags = given(*NEEDED, *arguments)
    assert flags.pop("config") is None
    config = load_config(None, flags)

    assert getattr(config, setting) == value


def test_the_help_names_every_setting_with_its_default() -> None:
    app = typer.Typer()
    app.command()(with_training_options(lambda **_: None))
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "300"}).output

    for name in TrainingConfig.__pydantic_fields__:  # type: ignore[attr-defined]
        assert (
            f"--{name.removesuffix('s') if name == 'objectives' else name.replace('_', '-')}"
            in shown
        )
    assert "[default: (1e-05)]" in shown
    assert "[default: (small)]" in shown


def test_the_options_are_listed_without_torch() -> None:
    code = "import sys, training.cli.train; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "False"
