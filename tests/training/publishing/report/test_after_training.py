"""The report that a real training leaves, of a model of a few thousand weights."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rm_core.checkpoint.manifest import MANIFEST_NAME, read_manifest, verify_files
from tests.training.publishing.report.reading_pages import Page
from tests.training.samples import preference_rows, write_jsonl
from training.config import TrainingConfig
from training.pipeline import TrainingResult, train_reward_model
from training.progress import SilentProgress


class Listening(SilentProgress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


def config_of(
    base: Path, directory: Path, rows: list[dict[str, Any]], **options: Any
) -> TrainingConfig:
    settings: dict[str, Any] = {
        "role": "safety",
        "max_length": 128,
        "learning_rate": 3e-3,
        "epochs": 4.0,
        "batch_size": 8,
        "gradient_accumulation": 1,
        "logging_steps": 1,
        **options,
    }
    return TrainingConfig(
        data=(str(write_jsonl(directory / "rows.jsonl", rows)),),
        base=str(base),
        output=str(directory / "model"),
        **settings,
    )


@pytest.fixture(scope="module")
def left(
    tiny_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainingConfig, TrainingResult, Listening]:
    directory = tmp_path_factory.mktemp("report")
    config = config_of(tiny_base, directory, preference_rows(48))
    progress = Listening()
    return config, train_reward_model(config, progress=progress), progress


def test_it_lies_beside_the_checkpoint_and_says_so(
    left: tuple[TrainingConfig, TrainingResult, Listening],
) -> None:
    config, result, progress = left
    run = Path(f"{config.output}.run")

    assert result.page == run / "report" / "report.html"
    assert result.page.is_file()
    assert any(f"writing the report in {run}" in message for message in progress.said)
    for picture in (run / "report").glob("*.png"):
        Image.open(picture).verify()
    assert len(list((run / "report").glob("*.png"))) >= 6


def test_every_figure_on_it_equals_the_checkpoint_s(
    left: tuple[TrainingConfig, TrainingResult, Listening],
) -> None:
    config, result, _ = left
    page = Page(result.page.read_text(encoding="utf-8"))
    metrics = json.loads((Path(config.output) / MANIFEST_NAME).read_text())["metrics"]

    shown = dict(page.tables["Every figure"][1:])

    assert page.faults == []
    assert json.loads(shown["accuracy.value"]) == metrics["accuracy"]["value"]
    assert json.loads(shown["loss"]) == metrics["loss"]
    for name, path in ((name, name.split(".")) for name in shown):
        value: Any = metrics
        for key in path:
            value = value[key]
        assert shown[name] == value or json.loads(shown[name]) == value
    # 48 rows, a quarter held out, four epochs of 36 in eights, each logged.
    assert dict(page.tables["How it went"][1:])["updates"] == "20"


def test_the_checkpoint_holds_no_text_of_the_data_and_every_file_is_pinned(
    left: tuple[TrainingConfig, TrainingResult, Listening],
) -> None:
    output = Path(left[0].output)
    manifest = read_manifest(output)

    verify_files(output, manifest)

    assert {"figures/accuracy.png"} <= set(manifest.files)
    written = (output / "README.md").read_text() + (output / MANIFEST_NAME).read_text()
    assert "Tell me about" not in written
    assert "Go away" not in written


def test_no_report_is_written_where_none_is_wanted(tiny_base: Path, tmp_path: Path) -> None:
    config = config_of(tiny_base, tmp_path, preference_rows(16), epochs=1.0)

    result = train_reward_model(replace(config, report=False))

    assert result.page is None
    assert not list(tmp_path.rglob("*.png"))
    assert not list(tmp_path.rglob("report.html"))


def test_a_head_trained_on_ratings_alone_leaves_a_sound_report(
    tiny_base: Path, tmp_path: Path
) -> None:
    rows = [
        {**row, "responses": row["responses"][:1], "ranking": [0], "ratings": [float(n % 2)]}
        | {"is_safe": None, "strength": None}
        for n, row in enumerate(preference_rows(16))
    ]
    config = config_of(
        tiny_base,
        tmp_path,
        rows,
        role="helpfulness",
        objectives={"regression": 1.0},
        trainable="head",
    )

    page = train_reward_model(config).page

    found = Page(page.read_text(encoding="utf-8"))
    assert found.faults == []
    assert "No pairs were held out" in found.text
    assert len(found.labels) == 2
