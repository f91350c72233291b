"""Poisoned checkpoints: each refused in time and with a reason, and nothing of it executed or read.

Beside them stand the attacks that succeed once a protection is taken away.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from rewardd.checkpoints.inspect.checkpoint import inspect_checkpoint
from rm_core.checkpoint import asked_code, held_files, load, weights
from rm_core.checkpoint.load import load_reward_model
from rm_core.checkpoint.open_files import NO_CAUTION, Caution
from rm_core.checkpoint.trial import Trial, TrialLimits
from rm_core.engine import engine as engine_module
from rm_core.engine import load_engine
from rm_core.errors import CheckpointError
from rm_core.types import Dialogue
from tests.adapters import save_adapter, save_base
from tests.chaos.conftest import Chaos
from tests.chaos.poisons import POISONS, Poison, link_elsewhere, sound

LONGEST_SECONDS = 20
HELD = Dialogue("What is the capital of France?", "Paris.")


@pytest.fixture(scope="module")
def trial(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Trial]:
    """One that has imported its libraries, which takes a loaded machine longer than any trial."""
    full = request.config.getoption("--chaos") == "full"
    with Trial(TrialLimits(seconds=15.0 if full else 1.0)) as started:
        good = sound(tmp_path_factory.mktemp("first") / "checkpoint")
        load_engine({"safety": str(good)}, caution=Caution(trial=started))
        yield started


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return sound(tmp_path / "models" / "checkpoint")


opened: list[str] = []


def _note_opened(event: str, args: tuple[Any, ...]) -> None:
    if event == "open" and "secret" in str(args[0]):
        opened.append(str(args[0]))


sys.addaudithook(_note_opened)


def refused(directory: Path, caution: Caution) -> tuple[str, float]:
    """Why it was refused, and after how many seconds."""
    began = time.monotonic()
    with pytest.raises(CheckpointError) as error:
        load_engine({"safety": str(directory)}, caution=caution)
    return str(error.value), time.monotonic() - began


@pytest.mark.parametrize("poison", POISONS, ids=lambda poison: poison.name)
def test_a_poisoned_checkpoint_is_refused_in_time_and_does_nothing(
    poison: Poison, checkpoint: Path, canary: Path, trial: Trial
) -> None:
    poison.make(checkpoint, canary)
    opened.clear()

    why, seconds = refused(checkpoint, Caution(trial=trial))

    assert re.search(poison.told, why), why
    assert seconds < LONGEST_SECONDS
    assert not canary.exists()
    assert opened == []
    assert str(checkpoint) in why or "reward_model.json" in why, "the reason names the checkpoint"


def test_what_takes_too_much_memory_is_refused(
    checkpoint: Path, trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    labels = {str(number): "label " * 4 for number in range(200_000)}
    (checkpoint / "config.json").write_text(json.dumps(config | {"labels_of_others": labels}))
    limits = TrialLimits(seconds=15.0, memory_bytes=24 * 2**20)
    monkeypatch.setattr(trial, "limits", limits)

    why, _ = refused(checkpoint, Caution(trial=trial))

    assert "more than 0.0234 GiB" in why
    assert "building its model" in why


def test_a_sound_checkpoint_gets_through_its_trial(checkpoint: Path, trial: Trial) -> None:
    engine = load_engine({"safety": str(checkpoint)}, caution=Caution(trial=trial))

    (rewards,) = engine.forward([engine.encode(HELD)])
    assert rewards["safety"][0] == pytest.approx(reward_of(checkpoint), abs=1e-4)


def reward_of(directory: Path) -> float:
    engine = load_engine({"safety": str(directory)})
    (rewards,) = engine.forward([engine.encode(HELD)])
    return rewards["safety"][0]


# What becomes of it without the protection.


def test_without_the_look_at_links_other_weights_are_served(
    checkpoint: Path, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = reward_of(checkpoint)
    link_elsewhere(checkpoint, canary)
    monkeypatch.setattr(held_files, "refuse_outside", lambda *_: None)

    assert reward_of(checkpoint) == pytest.approx(-honest)


def test_without_the_list_of_keys_a_kernel_repository_is_reached(
    checkpoint: Path, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import modeling_utils

    def fetched(*_: object, **__: object) -> None:
        canary.touch()
        raise ImportError

    poison = next(one for one in POISONS if one.name == "kernel in a table")
    poison.make(checkpoint, canary)
    monkeypatch.setattr(asked_code, "_asks", lambda *_: False)
    monkeypatch.setattr(modeling_utils, "lazy_import_flash_attention", fetched)

    refused(checkpoint, NO_CAUTION)

    assert canary.exists()


@pytest.mark.parametrize("name", ["NaN head", "head of zeros"])
def test_without_the_look_at_heads_one_that_says_nothing_is_loaded(
    name: str, checkpoint: Path, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    next(one for one in POISONS if one.name == name).make(checkpoint, canary)
    monkeypatch.setattr(load, "refuse_unsound_head", lambda *_: None)

    load_reward_model(str(checkpoint), "safety")


def test_without_the_look_at_texts_a_deaf_template_gives_every_response_one_reward(
    checkpoint: Path, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    next(one for one in POISONS if one.name == "deaf template").make(checkpoint, canary)
    monkeypatch.setattr(load, "refuse_deaf", lambda *_: None)
    engine = load_engine({"safety": str(checkpoint)})
    items = [engine.encode(replace(HELD, response=text)) for text in ("Paris.", "Die.")]

    one, other = engine.forward(items)

    assert one == other


@pytest.mark.parametrize("name", ["other rewards", "tokenizer blows up"])
def test_without_a_trial_what_only_it_can_tell_becomes_ready(
    name: str, checkpoint: Path, canary: Path
) -> None:
    next(one for one in POISONS if one.name == name).make(checkpoint, canary)

    load_engine({"safety": str(checkpoint)})


def test_without_golden_rewards_looked_at_exchanged_files_become_ready(
    checkpoint: Path, canary: Path, trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    next(one for one in POISONS if one.name == "other rewards").make(checkpoint, canary)
    monkeypatch.setattr(engine_module, "refuse_unsound_rewards", lambda *_: None)

    load_engine({"safety": str(checkpoint)}, caution=Caution(trial=trial))


# The root that a swap takes its models from.

NAMES = ("..", "../outside", "checkpoint/../../outside", "link", "/etc", "checkpoint/../..", ".")


@pytest.mark.parametrize("name", NAMES)
def test_nothing_outside_of_the_root_is_loaded(name: str, checkpoint: Path) -> None:
    root = checkpoint.parent
    sound(root.parent / "outside")
    (root / "link").symlink_to(root.parent / "outside")

    why, _ = refused(root / name, Caution(within=root))

    assert "is not in" in why


def test_what_lies_in_the_root_is_loaded(checkpoint: Path) -> None:
    load_engine({"safety": str(checkpoint)}, caution=Caution(within=checkpoint.parent))


def test_random_names_of_shards_open_nothing_outside(
    checkpoint: Path, canary: Path, chaos: Chaos
) -> None:
    secret = canary.with_name("secret.safetensors")
    secret.write_bytes((checkpoint / weights.WEIGHTS).read_bytes())
    tensors = list(load_file(secret))
    (checkpoint / weights.WEIGHTS).unlink()
    chance = chaos.random("shards")
    parts = ["..", ".", "", "models", "checkpoint", "%2e%2e", "\\..", "~", "//", "\0"]
    opened.clear()
    for _ in range(chaos.times(60, 3000)):
        path = "/".join(chance.choice(parts) for _ in range(chance.randint(0, 4)))
        name = f"{path}/{secret.name}" if chance.random() < 0.9 else str(secret)
        index = {"metadata": {}, "weight_map": dict.fromkeys(tensors, name)}
        (checkpoint / weights.INDEX).write_text(json.dumps(index))
        refused(checkpoint, NO_CAUTION)
    assert opened == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, None),
        ({"r": 10**8, "lora_alpha": 10**8}, "its file holds"),
        ({"target_modules": r"((\w+)+\.?)+!"}, "putting its adapter"),
        ({"auto_mapping": {"parent_library": "evil", "base_model_class": "E"}}, "auto_mapping"),
    ],
)
def test_a_poisoned_adapter_is_refused_in_time(
    tmp_path: Path, trial: Trial, changes: dict[str, Any], told: str | None
) -> None:
    base = save_base(tmp_path / "base")
    adapter = save_adapter(tmp_path / "adapter", base, seed=1)
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | changes))

    if told is None:
        load_engine({"safety": str(adapter)}, caution=Caution(tmp_path, trial))
        with pytest.raises(CheckpointError, match="is not in"):
            load_engine({"safety": str(adapter)}, caution=Caution(adapter.parent / "elsewhere"))
        return
    why, seconds = refused(adapter, Caution(trial=trial))

    assert re.search(told, why), why
    assert seconds < LONGEST_SECONDS


@pytest.mark.parametrize("name", ["tokenizer without end", "auto_map below", "other rewards"])
def test_inspecting_a_poisoned_checkpoint_tells_the_poison(
    name: str, checkpoint: Path, canary: Path, trial: Trial
) -> None:
    poison = next(one for one in POISONS if one.name == name)
    poison.make(checkpoint, canary)

    inspection = inspect_checkpoint(str(checkpoint), trial=trial)

    assert not inspection.sound
    told = [found.message for found in inspection.findings if found.severity == "problem"]
    assert any(re.search(poison.told, message) for message in told)


@pytest.mark.parametrize("poison", POISONS, ids=lambda poison: poison.name)
def test_a_server_ends_with_the_reason_instead_of_becoming_ready(
    poison: Poison, checkpoint: Path, canary: Path, chaos: Chaos
) -> None:
    if not chaos.full and poison.name != "shard elsewhere":
        pytest.skip("a process each takes minutes: `make chaos`")
    poison.make(checkpoint, canary)
    command = [sys.executable, "-m", "rewardd", "serve", "--safety-model", str(checkpoint)]

    done = subprocess.run(
        [*command, "--port", "0", "--state-dir", str(canary.with_name("state"))],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 2
    assert re.search(poison.told, json.loads(done.stderr.splitlines()[-1])["reason"])
    assert not canary.exists()
