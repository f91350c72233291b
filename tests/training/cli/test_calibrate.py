"""`rewardd calibrate` as a person types it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rewardd.cli import app
from rm_core.checkpoint.manifest import read_manifest
from tests.models import save_checkpoint


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "plain", "llama")
    return tmp_path / "plain"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [
        {"prompt": f"p {i}", "responses": [f"yes {i}", f"no {i}"], "ranking": [0, 1]}
        for i in range(4)
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_what_was_found_is_shown_and_written(plain: Path, data: Path) -> None:
    arguments = ["calibrate", str(plain), "--role", "helpfulness", "--data", str(data)]

    shown = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert shown.exit_code == 0, shown.output
    assert "nothing was written" in shown.output
    assert read_manifest(plain) is None
    done = CliRunner().invoke(app, arguments)

    assert done.exit_code == 0, done.output
    assert "at least 50 of 20 prompts are needed" in done.output
    assert "is written" in done.output
    manifest = read_manifest(plain)
    assert manifest is not None
    assert manifest.calibration is not None
    assert manifest.calibration.method == "none"


def test_what_is_missing_is_said_in_one_line(plain: Path, data: Path) -> None:
    found = CliRunner().invoke(app, ["calibrate", str(plain), "--data", str(data)])

    assert found.exit_code == 1
    assert "give --role" in found.output
    assert "Traceback" not in found.output
