"""reward_model.json reads back what was written, and pins every file beside it."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rm_core.checkpoint.manifest import (
    MANIFEST_NAME,
    RewardModelManifest,
    read_manifest,
    verify_files,
    write_manifest,
)
from rm_core.errors import DigestMismatch, InvalidManifest
from rm_core.text.contract import PositionContract
from rm_core.types import Baseline, CalibrationFit, ReferenceQuantiles, SafetyThreshold

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


CALIBRATED = replace(
    MANIFEST,
    temperature=2.0,
    bias=-0.5,
    calibration=CalibrationFit("labels", "by hand", 10, 20, 5, 0.1, 0.2),
    reference_quantiles=ReferenceQuantiles((0.25, 0.5, 0.75), (-1.0, 0.0, 0.0), 40),
    safety_threshold=SafetyThreshold(
        0.2, "by hand", 0.89, 0.9, 0.5, (0.1, 0.3), (0.8, 1.0), None, 100, 40
    ),
)


def test_calibration_quantiles_and_threshold_read_back_equal(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None

    written = write_manifest(tmp_path, CALIBRATED)

    assert read_manifest(tmp_path) == written == CALIBRATED


def test_a_manifest_of_the_release_before_calibration_still_reads() -> None:
    """As 0.1.0 wrote it: these keys and no others."""
    old = {
        "format_version": 1,
        "role": "safety",
        "position": MANIFEST.position.to_json(),
        "head": "last_token",
        "temperature": 2.0,
        "bias": 0.5,
        "baseline": {"mean": 0.5, "std": 2.0, "weight": 32.0},
        "baseline_source": "held out",
        "safety_threshold": {"tau": 0.2, "how": "by hand"},
        "metrics": {},
        "data": {},
        "base_model": {},
        "training": {},
        "versions": {},
        "files": {},
    }

    manifest = RewardModelManifest.from_json(old)

    assert manifest.safety_threshold == SafetyThreshold(0.2, "by hand")
    assert (manifest.calibration, manifest.reference_quantiles) == (None, None)


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": float("inf")},
        {"bias": float("nan")},
        {"calibration": {"method": "magic", "how": ""}},
        {"reference_quantiles": {"probabilities": [0.5], "values": [], "responses": 1}},
        {"reference_quantiles": {"probabilities": [0.5, 0.4], "values": [0, 1], "responses": 1}},
        {"reference_quantiles": {"probabilities": [0.0, 0.4], "values": [0, 1], "responses": 1}},
        {"reference_quantiles": {"probabilities": [0.1, 0.4], "values": [1, 0], "responses": 1}},
        {"reference_quantiles": {"values": [1, 0], "responses": 1}},
    ],
    ids=str,
)
def test_what_would_break_the_arithmetic_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidManifest):
        RewardModelManifest.from_json({**CALIBRATED.to_json(), **change})


def test_a_figure_that_is_no_number_is_written_as_null(tmp_path: Path) -> None:
    write_manifest(tmp_path, replace(MANIFEST, metrics={"tau": [float("nan"), {"x": 1.5}]}))

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    text = (tmp_path / MANIFEST_NAME).read_text("utf-8")
    assert json.loads(text, parse_constant=refuse)["metrics"] == {"tau": [None, {"x": 1.5}]}


def test_a_write_that_fails_leaves_the_old_manifest_and_a_checkpoint_that_verifies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text("{}")
    before = write_manifest(tmp_path, MANIFEST)

    def fail(_: int) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="no space"):
            write_manifest(tmp_path, CALIBRATED)

    assert read_manifest(tmp_path) == before
    verify_files(tmp_path, before)
    # what the failure left is neither digested nor left over after the next success
    after = write_manifest(tmp_path, CALIBRATED)
    assert set(after.files) == {"config.json"}
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", MANIFEST_NAME}
