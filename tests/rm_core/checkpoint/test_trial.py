"""The child that tries checkpoints, when it fails itself; what it tells is in tests/chaos."""

import time
from pathlib import Path

import pytest

from rm_core.checkpoint import trial
from rm_core.checkpoint.trial import Trial, TrialLimits
from rm_core.errors import CheckpointError, ConfigurationError, UnsafeCheckpoint

READY = "import sys, json, time; print('{}', flush=True); sys.stdin.readline(); "
ANSWERS = {
    "forbidden": ("UnsafeCheckpoint", "tried to reach the network"),
    "too_long": ("CheckpointError", "takes more than 15 s"),
    "too_large": ("CheckpointError", "reach the network"),
    "ended": ("CheckpointError", "more than 4 GiB"),
}


def tried(program: str, monkeypatch: pytest.MonkeyPatch, seconds: float = 15.0) -> None:
    monkeypatch.setattr(trial, "_RUN", program)
    with Trial(TrialLimits(seconds=seconds, start_seconds=30.0)) as child:
        child.try_checkpoint("it", Path("nowhere"), weights=[Path("nowhere")])


def test_a_child_that_passes_a_checkpoint_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tried(READY + """print('{"outcome": "passed"}', flush=True)""", monkeypatch)


@pytest.mark.parametrize("outcome", ANSWERS)
def test_each_outcome_is_told_with_what_the_child_was_at(
    outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"outcome": outcome, "told": "reach the network", "phase": "model"}
    kind, words = ANSWERS[outcome]

    with pytest.raises(CheckpointError, match=words) as error:
        tried(READY + f"print(json.dumps({said}), flush=True)", monkeypatch)

    assert type(error.value).__name__ == kind
    assert str(error.value).startswith("it: ")
    assert isinstance(error.value, UnsafeCheckpoint) == (outcome == "forbidden")


@pytest.mark.parametrize("program", ["", "raise SystemExit(1)", READY])
def test_a_child_that_ends_without_an_answer_is_told(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="checkpoint_trial_seconds 0"):
        tried(program, monkeypatch)


def test_a_child_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "SPARE_SECONDS", 0.0)
    began = time.monotonic()

    with pytest.raises(ConfigurationError, match="ended without an answer"):
        tried(READY + "time.sleep(600)", monkeypatch, seconds=0.05)

    assert time.monotonic() - began < 300


def test_no_child_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_RUN", READY + "time.sleep(600)")
    child = Trial().start()
    process = child._process

    child.close()
    child.close()

    assert process is not None
    assert process.poll() is not None
