"""A checkpoint appears whole, in place of an older one of ours and of nothing else."""

import json
from pathlib import Path

import pytest

from rm_core.checkpoint.load import load_reward_model
from rm_core.checkpoint.manifest import MANIFEST_NAME, verify_files
from rm_core.errors import ConfigurationError
from tests.training.made_up import published
from training.modeling.reward_model import TrainableModel
from training.publishing.publish import DATA_REPORT_NAME, check_output
from training.publishing.report.plots.drawing import Plot

PICTURE = Plot("accuracy", "", "", "what is seen", "", b"made-up picture")


def test_what_is_written_is_what_the_manifest_pins(start: TrainableModel, tmp_path: Path) -> None:
    output = tmp_path / "safety"

    manifest = published(start, output)

    assert json.loads((output / MANIFEST_NAME).read_text()) == json.loads(
        json.dumps(manifest.to_json())  # tuples become lists on disk
    )
    verify_files(output, manifest)
    assert {DATA_REPORT_NAME, "README.md", "model.safetensors"} <= set(manifest.files)
    assert set(manifest.files) == {path.name for path in output.iterdir()} - {MANIFEST_NAME}
    report = json.loads((output / DATA_REPORT_NAME).read_text())
    assert report["dropped"] == {"empty": ["private-id-1", "private-id-2"]}
    assert manifest.data["dropped"] == {"empty": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["safety"]


def test_the_card_s_pictures_are_pinned_and_may_be_read_like_every_other_file(
    start: TrainableModel, tmp_path: Path
) -> None:
    output = tmp_path / "out"

    manifest = published(start, output, pictures={"figures/accuracy.png": PICTURE})

    verify_files(output, manifest)
    assert "figures/accuracy.png" in manifest.files
    assert (output / "figures" / "accuracy.png").read_bytes() == b"made-up picture"
    assert "![what is seen](figures/accuracy.png)" in (output / "README.md").read_text()
    assert load_reward_model(str(output), "safety").manifest == manifest
    modes = {path.name: path.stat().st_mode & 0o777 for path in output.rglob("*")}
    assert modes.pop("figures") & 0o555 == 0o555  # others may look into it
    assert set(modes.values()) == {0o644}


def test_an_older_checkpoint_is_replaced_whole_and_leftovers_of_a_failure_are_not_taken_over(
    start: TrainableModel, tmp_path: Path
) -> None:
    output, partial = tmp_path / "out", tmp_path / ".out.partial"
    published(start, output)
    (output / "of-an-older-release.json").write_text("{}")
    partial.mkdir()
    (partial / "half-written.safetensors").write_bytes(b"x")

    manifest = published(start, output)

    names = {path.name for path in output.iterdir()}
    assert not {"of-an-older-release.json", "half-written.safetensors"} & names
    assert names == {*manifest.files, MANIFEST_NAME}
    assert not partial.exists()


def test_only_an_absent_an_empty_or_our_own_directory_is_written_to(tmp_path: Path) -> None:
    check_output(tmp_path / "absent")
    check_output(tmp_path)
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(ConfigurationError, match="left alone"):
        check_output(tmp_path)
    with pytest.raises(ConfigurationError, match="is a file"):
        check_output(tmp_path / "thesis.txt")

    (tmp_path / MANIFEST_NAME).write_text("{}")
    check_output(tmp_path)
