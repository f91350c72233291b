"""T6: a run killed at any point ends, once resumed, in the weights of one that was not."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rm_core.errors import ConfigurationError
from tests.training.samples import preference_rows, write_jsonl
from tests.training.small_trainings import fresh, train_examples
from training.config import TrainingConfig
from training.data.examples import EncodedExample
from training.optimization.resume import (
    MARKER_NAME,
    RunIdentity,
    checkpoint_to_resume,
    complete_checkpoint,
    identity_of,
    keep_newest,
)
from training.pipeline import run_directory, train_reward_model
from training.progress import SilentProgress

ROOT = Path(__file__).parents[3]


class Heard(SilentProgress):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture(scope="module")
def config(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingConfig:
    """Six updates an epoch, two forward passes each, and dropout, so that random states matter."""
    directory = tmp_path_factory.mktemp("resume")
    base = shutil.copytree(tiny_base, directory / "base")
    settings = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**settings, "attention_dropout": 0.2}))
    return TrainingConfig(
        role="safety",
        data=(str(write_jsonl(directory / "preferences.jsonl", preference_rows(32))),),
        base=str(base),
        output=str(directory / "whole"),
        max_length=128,
        epochs=2.0,
        learning_rate=3e-3,
        batch_size=2,
        gradient_accumulation=2,
        disable_dropout=False,
        save_steps=2,
        report=False,
    )


@pytest.fixture(scope="module")
def uninterrupted(config: TrainingConfig) -> str:
    """The sha256 of the weights that a run ends in when nothing happens to it."""
    train_reward_model(config)
    return weights_digest(config)


def weights_digest(config: TrainingConfig) -> str:
    return hashlib.sha256((Path(config.output) / "model.safetensors").read_bytes()).hexdigest()


@contextmanager
def held(config: TrainingConfig, point: str, step: int) -> Iterator[subprocess.Popen[str]]:
    """A training in a process of its own that holds still at a point."""
    arguments = [json.dumps(config.to_json()), point, str(step)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.training.interrupted_run", *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def killed(config: TrainingConfig) -> dict[str, TrainingConfig]:
    """Configurations of two runs, killed at the same time while the test machine waited once."""
    points = {"saving": 4, "accumulating": 8}
    configs = {point: replace(config, output=f"{config.output}-{point}") for point in points}
    with (
        held(configs["saving"], "saving", 4) as saving,
        held(configs["accumulating"], "accumulating", 8) as accumulating,
    ):
        for process in (saving, accumulating):
            assert process.stdout is not None
            assert process.stdout.readline() == "holding\n"
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
    return configs


@pytest.mark.parametrize(
    ("point", "goes_on_from"), [("saving", "checkpoint-2"), ("accumulating", "checkpoint-8")]
)
def test_a_run_killed_by_the_system_ends_in_the_same_weights_once_resumed(
    killed: dict[str, TrainingConfig], uninterrupted: str, point: str, goes_on_from: str
) -> None:
    assert not Path(killed[point].output).exists()
    progress = Heard()

    train_reward_model(replace(killed[point], resume=True), progress=progress)

    assert f"going on from {goes_on_from}" in progress.said
    assert weights_digest(killed[point]) == uninterrupted


def test_a_kill_while_saving_leaves_nothing_that_looks_like_a_checkpoint(
    killed: dict[str, TrainingConfig], uninterrupted: str
) -> None:
    """Runs after the resumed run, which has saved in the same place since."""
    left = {path.name for path in run_directory(Path(killed["saving"].output)).iterdir()}

    assert left - {"tensorboard", "pace.json"} == {"checkpoint-10", "checkpoint-12"}


@pytest.fixture(scope="module")
def examples(config: TrainingConfig) -> tuple[EncodedExample, ...]:
    return train_examples(fresh(Path(config.base)).encoder, Path(config.base).parent, 32)


def identity_on(config: TrainingConfig, examples: Sequence[EncodedExample]) -> RunIdentity:
    return identity_of(config, examples, base="b" * 64, processes=1, parallel="NO", bf16=False)


@pytest.fixture
def identity(config: TrainingConfig, examples: tuple[EncodedExample, ...]) -> RunIdentity:
    return identity_on(config, examples)


@pytest.fixture
def runs(tmp_path: Path, identity: RunIdentity) -> Path:
    """A run directory with whole checkpoints 2 and 4."""
    (tmp_path / "run").mkdir()
    for step in (2, 4):
        written = tmp_path / "written"
        written.mkdir()
        for name in ("model.safetensors", "optimizer.pt", "rng_state.pth"):
            (written / name).write_bytes(f"{name} at {step}".encode() * 100)
        complete_checkpoint(written, tmp_path / "run" / f"checkpoint-{step}", identity)
    return tmp_path / "run"


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        ("model.safetensors", truncate, "model.safetensors has"),
        ("optimizer.pt", Path.unlink, "optimizer.pt is missing"),
        ("rng_state.pth", flip_a_bit, "rng_state.pth is damaged"),
        (MARKER_NAME, Path.unlink, "written last"),
        (MARKER_NAME, truncate, "can't be read"),
    ],
)
def test_a_torn_checkpoint_is_passed_over_for_the_one_before(
    runs: Path, identity: RunIdentity, name: str, damage: Callable[[Path], None], reason: str
) -> None:
    said: list[str] = []
    assert checkpoint_to_resume(runs, identity, say=said.append).name == "checkpoint-4"
    damage(runs / "checkpoint-4" / name)

    found = checkpoint_to_resume(runs, identity, say=said.append)

    assert found.name == "checkpoint-2"
    assert said[0] == "going on from checkpoint-4"
    assert said[1].startswith("checkpoint-4 is not whole")
    assert reason in said[1]


def test_where_every_checkpoint_is_torn_nothing_is_resumed(
    runs: Path, identity: RunIdentity
) -> None:
    for directory in runs.iterdir():
        truncate(directory / "model.safetensors")

    with pytest.raises(ConfigurationError, match="start afresh"):
        checkpoint_to_resume(runs, identity, say=lambda _: None)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"learning_rate": 1e-4}, "`learning_rate` was 0.003 and is 0.0001"),
        ({"seed": 3}, "`seed` was 0 and is 3"),
        ({"gradient_accumulation": 4}, "`gradient_accumulation` was 2 and is 4"),
    ],
)
def test_a_changed_setting_is_refused_by_name(
    runs: Path,
    config: TrainingConfig,
    examples: tuple[EncodedExample, ...],
    changes: dict[str, Any],
    named: str,
) -> None:
    changed = identity_on(replace(config, **changes), examples)

    with pytest.raises(ConfigurationError) as refused:
        checkpoint_to_resume(runs, changed, say=lambda _: None)

    assert named in str(refused.value)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"data": "f" * 64}, "training data"),
        ({"base": "f" * 64}, "base model's weights"),
        ({"processes": 2}, "number of processes was 1 and is 2"),
        ({"parallel": "FSDP"}, "in parallel was NO and is FSDP"),
        ({"bf16": True}, "bfloat16"),
    ],
)
def test_changed_data_base_or_machine_is_refused_by_name(
    runs: Path, identity: RunIdentity, change: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        checkpoint_to_resume(runs, replace(identity, **change), say=lambda _: None)

    assert named in str(refused.value)
    assert "checkpoint-4" in str(refused.value)


def test_one_changed_comparison_changes_the_identity(
    config: TrainingConfig, examples: tuple[EncodedExample, ...], identity: RunIdentity
) -> None:
    first = examples[0]
    swapped = replace(first, pairs=(replace(first.pairs[0], margin=9.0),))

    assert identity_on(config, [swapped, *examples[1:]]).data != identity.data


def test_settings_that_leave_the_weights_alone_may_change(
    runs: Path, config: TrainingConfig, examples: tuple[EncodedExample, ...]
) -> None:
    free = replace(
        config, output="elsewhere", save_steps=5, logging_steps=1, resume=True, baseline_weight=1.0
    )
    identity = identity_on(free, examples)

    assert checkpoint_to_resume(runs, identity, say=lambda _: None).name == "checkpoint-4"


def test_other_versions_go_on_with_a_word_of_warning(runs: Path, identity: RunIdentity) -> None:
    said: list[str] = []
    newer = replace(identity, surroundings={**identity.surroundings, "torch": "9.0"})

    checkpoint_to_resume(runs, newer, say=said.append)

    assert any("torch was" in line and "9.0" in line for line in said)


def test_checkpoints_of_a_longer_run_before_this_one_are_not_taken_for_its_own(
    runs: Path, tmp_path: Path, identity: RunIdentity
) -> None:
    written = tmp_path / "written"
    written.mkdir()
    complete_checkpoint(written, runs / "checkpoint-100", replace(identity, data="f" * 64))

    assert checkpoint_to_resume(runs, identity, say=lambda _: None).name == "checkpoint-4"


def test_the_checkpoints_completed_last_stay_whatever_their_numbers(runs: Path) -> None:
    later = (runs / "checkpoint-4" / MARKER_NAME).stat().st_mtime_ns + 1
    os.utime(runs / "checkpoint-2" / MARKER_NAME, ns=(later, later))

    keep_newest(runs, 1)

    assert [path.name for path in runs.iterdir()] == ["checkpoint-2"]
