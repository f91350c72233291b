"""The report that a real training leaves, of a model of a few thousand weights."""

import json
from pathlib import Path

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


Left = tuple[TrainingConfig, TrainingResult, Listening]


@pytest.fixture(scope="module")
def left(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Left:
    directory = tmp_path_factory.mktemp("report")
    config = TrainingConfig(
        role="safety",
        data=(str(write_jsonl(directory / "rows.jsonl", preference_rows(48))),),
        base=str(tiny_base),
        output=str(directory / "model"),
        max_length=128,
        learning_rate=3e-3,
        epochs=4.0,
        batch_size=8,
        gradient_accumulation=1,
        logging_steps=1,
    )
    progress = Listening()
    return config, train_reward_model(config, progress=progress), progress


def test_it_lies_beside_the_checkpoint_and_says_so(left: Left) -> None:
    config, result, progress = left
    run = Path(f"{config.output}.run")

    assert result.page == run / "report" / "report.html"
    assert result.page.is_file()
    assert any(f"writing the report in {run}" in message for message in progress.said)
    for picture in (run / "report").glob("*.png"):
        Image.open(picture).verify()
    assert len(list((run / "report").glob("*.png"))) >= 6


def test_its_figures_are_the_checkpoint_s(left: Left) -> None:
    config, result, _ = left
    page = Page(result.page.read_text(encoding="utf-8"))
    metrics = json.loads((Path(config.output) / MANIFEST_NAME).read_text())["metrics"]

    shown = dict(page.tables["Every figure"][1:])

    assert page.faults == []
    assert json.loads(shown["accuracy.value"]) == metrics["accuracy"]["value"]
    assert json.loads(shown["loss"]) == metrics["loss"]
    # 48 rows, a quarter held out, four epochs of 36 in eights, each logged.
    assert dict(page.tables["How it went"][1:])["updates"] == "20"


def test_the_checkpoint_holds_no_text_of_the_data_and_every_file_is_pinned(left: Left) -> None:
    output = Path(left[0].output)
    manifest = read_manifest(output)

    verify_files(output, manifest)

    assert {"figures/accuracy.png"} <= set(manifest.files)
    written = (output / "README.md").read_text() + (output / MANIFEST_NAME).read_text()
    assert "Tell me about" not in written
    assert "Go away" not in written
