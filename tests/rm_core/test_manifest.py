"""reward_model.json reads back what was written, and pins every file beside it."""

from pathlib import Path

import pytest

from rm_core.errors import DigestMismatch
from rm_core.manifest import (
    MANIFEST_NAME,
    RewardModelManifest,
    read_manifest,
    verify_files,
    write_manifest,
)
from rm_core.text import PositionContract
from rm_core.types import Baseline

MANIFEST = RewardModelManifest(
    role="helpfulness",
    position=PositionContract("concatenate", "if_absent", "if_absent", "last_token", 128),
    baseline=Baseline(0.5, 2.0, 100.0),
    metrics={"accuracy": 0.625},
)


def test_a_written_manifest_reads_back_equal_with_every_files_digest(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "README.md").write_text("card")

    written = write_manifest(tmp_path, MANIFEST)

    assert read_manifest(tmp_path) == written
    assert set(written.files) == {"config.json", "README.md"}
    # sha256 of the two bytes "{}"
    assert written.files["config.json"].startswith("44136fa355b3678a1146ad16f7e8649e")
    verify_files(tmp_path, written)


def test_a_checkpoint_without_a_manifest_reads_as_none(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None


def test_a_file_that_went_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    written = write_manifest(tmp_path, MANIFEST)
    (tmp_path / "config.json").unlink()

    with pytest.raises(DigestMismatch, match=r"config\.json"):
        verify_files(tmp_path, written)


def test_writing_again_does_not_digest_the_manifest_itself(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)

    assert MANIFEST_NAME not in write_manifest(tmp_path, MANIFEST).files
