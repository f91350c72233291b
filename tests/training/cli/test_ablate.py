import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.training.cli.test_train import shown
from training.cli.train import register


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    register(app)
    return app


def test_ablate_prints_and_writes_one_table_and_says_what_was_there_already(
    app: typer.Typer, tiny_base: Path, preferences: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    arguments = ["ablate", "--role", "safety", "--data", str(preferences), "--base", str(tiny_base)]
    arguments += ["--output", str(output), "--batch-size", "8", "--gradient-accumulation", "1"]
    arguments += ["--seeds", "1", "--margins", "none", "--margins", "large"]

    first = CliRunner().invoke(app, arguments)
    assert first.exit_code == 0, first.output
    second = CliRunner().invoke(app, [*arguments, "--objective", "bradley_terry"])
    assert second.exit_code == 0, second.output

    assert "0 of 2 trainings were there already" in shown(first.output)
    assert "2 of 2 trainings were there already" in shown(second.output)
    for words in ("margins: none", "margins: large", "trainings"):
        assert words in shown(first.output)
    values = json.loads((output / "report" / "ablation.json").read_text())
    assert [row["label"] for row in values["rows"]] == ["margins: none", "margins: large"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--margins", "huge"], "nothing to train"),
        (["--objective", "steps"], "per_token"),
        (["--data", "/absent.jsonl"], "/absent.jsonl"),
    ],
)
def test_a_wrong_call_ends_with_one_line_that_says_what_to_do(
    app: typer.Typer, tiny_base: Path, preferences: Path, arguments: list[str], words: str
) -> None:
    common = ["ablate", "--role", "safety", "--base", str(tiny_base), "--output", "o"]
    data = [] if "--data" in arguments else ["--data", str(preferences)]
    result = CliRunner().invoke(app, [*common, *data, *arguments])

    assert result.exit_code == 1
    assert words in shown(result.output)
    assert "Traceback" not in result.output
