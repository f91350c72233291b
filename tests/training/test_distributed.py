"""Two processes that train together do what one does with twice the gradient accumulation."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.samples import preference_rows, write_jsonl
from training.config import TrainingConfig
from training.pipeline import run_directory, train_reward_model

ROOT = Path(__file__).parents[2]
# 33 training rows make 11 batches of 3: the two processes' shares of an epoch are not equal.
ROWS, BATCH, EPOCHS = 43, 3, 3.0


@dataclass(frozen=True)
class Trained:
    """What two processes left behind.

    Attributes:
        output: the checkpoint of the run that nothing happened to; `OUTPUT.run` beside it.
        resumed: of the run that went on from an earlier checkpoint.
    """

    output: Path
    resumed: Path


@pytest.fixture(scope="module")
def directory(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("distributed")
    data = write_jsonl(directory / "preferences.jsonl", preference_rows(ROWS))
    settings = directory / "settings.toml"
    settings.write_text("logging_steps = 1\n")
    arguments = ["train", "--config", str(settings), "--role", "safety", "--data", str(data)]
    arguments += ["--base", str(tiny_base), "--max-length", "128", "--learning-rate", "1e-3"]
    arguments += ["--epochs", str(EPOCHS), "--batch-size", str(BATCH), "--save-steps", "4"]
    arguments += ["--gradient-accumulation", "2", "--safety-auxiliary-weight", "0.5"]
    arguments += ["--no-report"]
    (directory / "arguments.json").write_text(json.dumps(arguments))
    return directory


@pytest.fixture(scope="module")
def alone(directory: Path, tiny_base: Path) -> Path:
    """The output of one process with twice the gradient accumulation."""
    config = TrainingConfig(
        role="safety",
        data=(str(directory / "preferences.jsonl"),),
        base=str(tiny_base),
        output=str(directory / "alone"),
        max_length=128,
        learning_rate=1e-3,
        epochs=EPOCHS,
        batch_size=BATCH,
        gradient_accumulation=4,
        safety_auxiliary_weight=0.5,
        save_steps=4,
        logging_steps=1,
        report=False,
    )
    train_reward_model(config)
    return Path(config.output)


@pytest.fixture(scope="module")
def printed(directory: Path) -> str:
    """What two processes printed that torchrun started, at a port that is free."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", "-m", "tests.training.two_processes", str(directory)),
        ],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        printed, _ = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, printed
    return printed


@pytest.fixture(params=["ddp", "fsdp"])
def together(request: pytest.FixtureRequest, directory: Path, printed: str) -> Trained:
    return Trained(directory / f"{request.param}-whole", directory / request.param)


def log_of(output: Path) -> list[dict[str, float]]:
    """One entry an update, from the last resumable checkpoint."""
    run = run_directory(output)
    last = max(run.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    history = json.loads((last / "trainer_state.json").read_text())["log_history"]
    return [entry for entry in history if "loss" in entry]


def largest_difference(output: Path, other: Path) -> float:
    first, second = (load_file(path / "model.safetensors") for path in (output, other))
    assert set(first) == set(second)
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def test_the_weights_are_those_of_one_process(alone: Path, together: Trained) -> None:
    assert largest_difference(alone, together.output) < 1e-5


@pytest.mark.parametrize("figure", ["loss", "accuracy", "margin", "learning_rate", "grad_norm"])
def test_every_update_has_the_figures_of_one_process(
    alone: Path, together: Trained, figure: str
) -> None:
    ours, theirs = log_of(together.output), log_of(alone)

    assert [entry["step"] for entry in ours] == list(range(1, 10))  # ⌈11 / 4⌉ updates, 3 epochs
    assert_close([e[figure] for e in ours], [e[figure] for e in theirs])


def assert_close(found: Sequence[float], expected: Sequence[float]) -> None:
    assert torch.allclose(torch.tensor(found), torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_a_resumed_run_ends_in_the_same_weights(together: Trained) -> None:
    assert largest_difference(together.output, together.resumed) == 0


def test_the_held_out_figures_are_those_of_one_process(alone: Path, together: Trained) -> None:
    metrics = [
        json.loads((output / "reward_model.json").read_text())["metrics"]
        for output in (alone, together.output)
    ]

    assert_close([metrics[0]["loss"]], [metrics[1]["loss"]])
    assert metrics[0]["accuracy"] == metrics[1]["accuracy"]


def test_one_process_prints(printed: str) -> None:
    """Four commands ran one after the other, in two processes each."""
    for line in ("encoding 43 records", "measuring on the held-out split", "checkpoint in"):
        assert printed.count(line) == 4
    assert printed.count("going on from checkpoint-8") == 2
    assert len(re.findall(r"safety RM .*9/9", printed)) == 4  # the bar's last state
    assert "Writing model shards" not in printed


def test_one_process_writes_the_log(together: Trained) -> None:
    assert len(list((run_directory(together.output) / "tensorboard").glob("events*"))) == 1
