"""`rewardd calibrate` as a person types it."""

from pathlib import Path

import pytest

from rm_core.checkpoint.manifest import read_manifest
from tests.models import save_checkpoint
from tests.training.cli.commands import rewardd
from tests.training.samples import write_jsonl


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
    return write_jsonl(tmp_path / "pairs.jsonl", rows)


def test_what_was_found_is_shown_and_written(plain: Path, data: Path) -> None:
    arguments = ["calibrate", str(plain), "--role", "helpfulness", "--data", str(data)]

    code, shown = rewardd(*arguments, "--dry-run")
    assert code == 0, shown
    assert "nothing was written" in shown
    assert read_manifest(plain) is None
    code, done = rewardd(*arguments)

    assert code == 0, done
    assert "at least 50 of 20 prompts are needed" in done
    assert "is written" in done
    manifest = read_manifest(plain)
    assert manifest is not None
    assert manifest.calibration is not None
    assert manifest.calibration.method == "none"


def test_what_is_missing_is_said_in_one_line(plain: Path, data: Path) -> None:
    code, shown = rewardd("calibrate", str(plain), "--data", str(data))

    assert code == 1
    assert "give --role" in shown
    assert "Traceback" not in shown
