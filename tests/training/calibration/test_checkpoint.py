"""A checkpoint that stands gets its calibration, and nothing else of it changes."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from rm_core.checkpoint.load import load_reward_model
from rm_core.checkpoint.manifest import MANIFEST_NAME, read_manifest, verify_files, write_manifest
from rm_core.errors import ConfigurationError, DigestMismatch, NotSaved, WrongRole
from rm_core.rewards import calibrate
from tests.models import save_checkpoint
from tests.rewards import reward_alone
from tests.training.full_disk import disk_full_after
from tests.training.samples import write_jsonl
from training.calibration.calibrate import CalibrationOptions
from training.calibration.checkpoint import (
    CheckpointRequest,
    baseline_weight_of,
    calibrate_checkpoint,
    checkpoint_role,
)
from training.errors import DataError

WORDS = ("river", "clock", "bread", "star", "map", "violin", "bridge", "letter")


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A random reward model as plain transformers saves it."""
    directory = tmp_path / "plain"
    save_checkpoint(directory, "llama")
    return directory


@pytest.fixture
def data(plain: Path, tmp_path: Path) -> Path:
    """Pairs whose labels follow the model's own rewards, but for every fourth."""
    loaded = load_reward_model(str(plain), "safety")
    rows = []
    for number in range(120):
        prompt = f"{WORDS[number % 8]} {number}?"
        texts = [f"a {WORDS[(number + k) % 8]} of {k}" for k in (1, 4)]
        rewards = [reward_alone(loaded.model, loaded.encoder, prompt, text) for text in texts]
        best = rewards.index(max(rewards))
        if number % 4 == 0:
            best = 1 - best
        ranking = [0 if i == best else 1 for i in range(2)]
        is_safe = [i == best for i in range(2)]
        rows.append({"prompt": prompt, "responses": texts, "ranking": ranking, "is_safe": is_safe})
    return write_jsonl(tmp_path / "judged.jsonl", rows)


def request(checkpoint: Path, data: Path, **changes: object) -> CheckpointRequest:
    asked = CheckpointRequest(
        checkpoint=checkpoint,
        data=(str(data),),
        options=CalibrationOptions(role="safety", method="pairs"),
        device="cpu",
    )
    return replace(asked, **changes)  # type: ignore[arg-type]


def test_rows_with_a_preference_for_each_role_are_read_by_the_models(
    plain: Path, data: Path, tmp_path: Path
) -> None:
    """PKU-SafeRLHF: the safer response is the model's own choice, the better one the other."""
    rows = []
    for line in data.read_text().splitlines():
        row = json.loads(line)
        (first, second), safer = row["responses"], row["ranking"].index(0)
        rows.append(
            {
                "prompt": row["prompt"],
                "response_0": first,
                "response_1": second,
                "is_response_0_safe": safer == 0,
                "is_response_1_safe": safer == 1,
                "safer_response_id": safer,
                "better_response_id": 1 - safer,
            }
        )
    pku = write_jsonl(tmp_path / "pku.jsonl", rows)
    asked = request(plain, data, write=False)

    as_safety = calibrate_checkpoint(replace(asked, data=(str(pku),)))
    as_said = calibrate_checkpoint(replace(asked, data=(f"{pku},role=helpfulness",)))

    assert as_safety.fit.calibration == calibrate_checkpoint(asked).fit.calibration
    assert as_said.fit.method == "none"  # in reverse of what the model says
    assert read_manifest(plain) is None


def test_a_plain_reward_model_gets_a_manifest_and_loads_with_its_calibration(
    plain: Path, data: Path
) -> None:
    before = {path.name: path.read_bytes() for path in plain.iterdir()}

    result = calibrate_checkpoint(request(plain, data))

    assert result.fit.method == "pairs"
    manifest = read_manifest(plain)
    verify_files(plain, manifest)
    loaded = load_reward_model(str(plain), "safety")
    assert loaded.profile.temperature == result.fit.calibration.temperature != 1.0
    assert loaded.profile.calibration == manifest.calibration
    assert loaded.profile.reference_quantiles == manifest.reference_quantiles is not None
    assert "judged.jsonl (all)" in manifest.calibration.how
    after = {path.name: path.read_bytes() for path in plain.iterdir()}
    assert after.pop(MANIFEST_NAME)
    assert after == before


def test_calibrating_again_finds_the_same_as_raw_rewards_are_what_is_fitted(
    plain: Path, data: Path
) -> None:
    first = calibrate_checkpoint(request(plain, data))
    once = read_manifest(plain)

    second = calibrate_checkpoint(request(plain, data))

    assert second.fit.calibration == first.fit.calibration
    assert read_manifest(plain) == once


def test_references_may_have_no_order(plain: Path, data: Path, tmp_path: Path) -> None:
    texts = [f"{word} {i}" for word in WORDS for i in range(5)]
    samples = write_jsonl(tmp_path / "policy.jsonl", [{"prompt": "why?", "responses": texts}])

    result = calibrate_checkpoint(request(plain, data, reference=(str(samples),)))

    loaded = load_reward_model(str(plain), "safety")
    rewards = [reward_alone(loaded.model, loaded.encoder, "why?", text) for text in texts]
    expected = calibrate(rewards, result.fit.calibration).mean()
    assert result.baseline.mean == pytest.approx(expected, abs=1e-4)
    assert "40 reference responses" in result.source


def test_a_checkpoint_of_ours_is_calibrated_on_what_its_training_held_out(
    plain: Path, data: Path
) -> None:
    calibrate_checkpoint(request(plain, data))
    manifest = read_manifest(plain)
    trained = {"heldout_fraction": 0.5, "split_seed": 3, "baseline_weight": 7.0}
    write_manifest(plain, replace(manifest, training=trained))

    held = calibrate_checkpoint(request(plain, data))
    everything = calibrate_checkpoint(request(plain, data, split="all"))

    assert 0 < held.provenance.pairs < everything.provenance.pairs == 120
    assert baseline_weight_of(plain) == 7.0
    write_manifest(plain, replace(manifest, training={"heldout_fraction": 0.0}))
    with pytest.raises(DataError, match="--split all"):
        calibrate_checkpoint(request(plain, data))


def test_a_changed_checkpoint_is_not_given_fresh_digests(plain: Path, data: Path) -> None:
    calibrate_checkpoint(request(plain, data))
    before = (plain / MANIFEST_NAME).read_bytes()
    with (plain / "tokenizer.json").open("a") as file:
        file.write("\n")

    with pytest.raises(DigestMismatch):
        calibrate_checkpoint(request(plain, data))

    assert (plain / MANIFEST_NAME).read_bytes() == before


def test_the_role_comes_from_the_manifest_or_must_be_given(plain: Path, data: Path) -> None:
    assert checkpoint_role(plain, "safety") == "safety"
    with pytest.raises(ConfigurationError, match="--role"):
        checkpoint_role(plain, None)
    with pytest.raises(ConfigurationError, match="no directory"):
        checkpoint_role(plain / "absent", "safety")

    calibrate_checkpoint(request(plain, data))

    assert checkpoint_role(plain, None) == "safety"
    with pytest.raises(WrongRole, match="leave --role out"):
        checkpoint_role(plain, "helpfulness")


@pytest.mark.parametrize("stands", [False, True], ids=["first", "again"])
def test_a_full_disk_leaves_the_manifest_as_it_was(plain: Path, data: Path, stands: bool) -> None:
    if stands:
        calibrate_checkpoint(request(plain, data))
    before = {path.name: path.read_bytes() for path in plain.iterdir()}

    for changes in range(10):
        with disk_full_after(changes, below=plain) as disk, suppress(NotSaved):
            calibrate_checkpoint(
                request(plain, data, options=CalibrationOptions(role="safety", method="none"))
            )
        if not disk.refused:
            break
        assert {path.name: path.read_bytes() for path in plain.iterdir()} == before
        load_reward_model(str(plain), "safety")

    assert changes >= 2  # writing and renaming: each has failed
    assert {path.name: path.read_bytes() for path in plain.iterdir()} != before


def test_data_of_which_nothing_can_be_scored_write_nothing(plain: Path, tmp_path: Path) -> None:
    row = {"prompt": "p", "responses": ["a " * 2000, "b " * 2000], "ranking": [0, 1]}
    path = write_jsonl(tmp_path / "long.jsonl", [row])

    with pytest.raises(DataError, match="input_too_long"):
        calibrate_checkpoint(request(plain, path))

    assert read_manifest(plain) is None
