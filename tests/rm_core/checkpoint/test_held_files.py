"""What is hashed is what is loaded, whatever becomes of the files meanwhile and afterwards."""

import gc
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from rm_core.checkpoint import held_files, load, transformers_loading
from rm_core.checkpoint.files import weights_digest
from rm_core.checkpoint.held_files import HeldFiles, refuse_strange_files, told_by_source
from rm_core.checkpoint.load import RewardModel, load_reward_model
from rm_core.checkpoint.weights import weight_files
from rm_core.engine.engine import Engine
from rm_core.errors import CheckpointError, UnsafeCheckpoint
from rm_core.types import Dialogue
from tests.models import save_checkpoint

WEIGHTS = "model.safetensors"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path / "checkpoint")


@pytest.fixture
def opposite(checkpoint: Path, tmp_path: Path) -> Path:
    """The same file but for the head's sign."""
    tensors = load_file(checkpoint / WEIGHTS)
    tensors["score.weight"] = -tensors["score.weight"]
    save_file(tensors, tmp_path / WEIGHTS, metadata={"format": "pt"})
    return tmp_path / WEIGHTS


def held(directory: Path) -> HeldFiles:
    return HeldFiles(directory, weight_files(directory))


def reward(model: RewardModel) -> float:
    engine = Engine({"safety": model})
    (found,) = engine.forward([engine.encode(Dialogue("What is it?", "A test."))])
    return found["safety"][0]


def overwrite(path: Path, other: Path) -> None:
    """Other bytes in the same file, as cp puts them."""
    with path.open("r+b") as file:
        file.write(other.read_bytes())


def num_open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def while_loading(monkeypatch: pytest.MonkeyPatch, attack: Callable[[], object]) -> None:
    """Attack as the library opens the weights, when everything was looked at."""
    real = transformers_loading.AutoModelForSequenceClassification.from_pretrained

    def attacked(*args: Any, **options: Any) -> Any:
        attack()
        return real(*args, **options)

    monkeypatch.setattr(
        transformers_loading.AutoModelForSequenceClassification, "from_pretrained", attacked
    )


class NotHeld(HeldFiles):
    """As it was: libraries are given the directory itself."""

    def __init__(self, directory: Path, weights: Any) -> None:
        super().__init__(directory, weights)
        for path in weights:
            self.digest_of(path)
        self.path = directory

    def refuse_changed(self) -> None:
        pass


def test_the_digest_is_that_of_the_directorys_weights_and_of_the_bytes_in_memory(
    checkpoint: Path,
) -> None:
    files = held(checkpoint)

    content = (checkpoint / WEIGHTS).read_bytes()
    assert files.digest_of(files.path / WEIGHTS) == hashlib.sha256(content).hexdigest()
    assert (files.path / WEIGHTS).read_bytes() == content
    assert weights_digest(files.path, files.digest_of) == weights_digest(checkpoint)


def test_a_file_that_takes_the_weights_place_is_not_loaded(
    checkpoint: Path, opposite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = load_reward_model(str(checkpoint), "safety")
    original = (checkpoint / WEIGHTS).read_bytes()

    def replace() -> None:
        shutil.copyfile(opposite, checkpoint / "new")
        (checkpoint / "new").replace(checkpoint / WEIGHTS)

    while_loading(monkeypatch, replace)

    with pytest.raises(CheckpointError, match="changed while it was loaded"):  # it lost its name
        load_reward_model(str(checkpoint), "safety")
    (checkpoint / WEIGHTS).write_bytes(original)
    monkeypatch.setattr(HeldFiles, "refuse_changed", lambda _: None)
    loaded = load_reward_model(str(checkpoint), "safety")

    assert reward(loaded) == reward(honest)
    assert loaded.profile.digest == honest.profile.digest


def test_without_held_files_another_model_is_served_under_the_same_digest(
    checkpoint: Path, opposite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = load_reward_model(str(checkpoint), "safety")
    while_loading(monkeypatch, lambda: opposite.replace(checkpoint / WEIGHTS))
    monkeypatch.setattr("rm_core.checkpoint.open_files.HeldFiles", NotHeld)

    loaded = load_reward_model(str(checkpoint), "safety")

    assert loaded.profile.digest == honest.profile.digest
    assert reward(loaded) == pytest.approx(-reward(honest))


def test_weights_that_are_written_while_they_are_loaded_are_refused(
    checkpoint: Path, opposite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    while_loading(monkeypatch, lambda: overwrite(checkpoint / WEIGHTS, opposite))

    with pytest.raises(CheckpointError, match=r"checkpoint/model\.safetensors changed while"):
        load_reward_model(str(checkpoint), "safety")


def test_small_files_are_read_once(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def attack() -> None:
        (checkpoint / "config.json").write_text("{")
        (checkpoint / "tokenizer.json").write_text("{")

    while_loading(monkeypatch, attack)

    load_reward_model(str(checkpoint), "safety")


def test_what_becomes_of_the_files_later_changes_no_reward(
    checkpoint: Path, opposite: Path
) -> None:
    loaded = load_reward_model(str(checkpoint), "safety")
    before = reward(loaded)

    overwrite(checkpoint / WEIGHTS, opposite)
    after = reward(loaded)
    os.truncate(checkpoint / WEIGHTS, 0)

    assert after == before == reward(loaded)


def test_weights_left_in_the_file_would_change_with_it(
    checkpoint: Path, opposite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (load, transformers_loading):
        monkeypatch.setattr(module, "let_go_of_files", lambda _: None)
    loaded = load_reward_model(str(checkpoint), "safety")
    before = reward(loaded)

    overwrite(checkpoint / WEIGHTS, opposite)

    assert reward(loaded) == pytest.approx(-before)


def test_libraries_see_configuration_vocabulary_and_weights_and_nothing_else(
    checkpoint: Path,
) -> None:
    for name in (
        "modeling_evil.py",
        "pytorch_model.bin",
        "x.safetensors",
        "lib.so",
        ".hidden.json",
    ):
        (checkpoint / name).write_bytes(b"x")
    (checkpoint / "additional_chat_templates").mkdir()
    (checkpoint / "additional_chat_templates" / "tools.jinja").write_text("x")
    files = held(checkpoint)

    seen = {p.relative_to(files.path).as_posix() for p in files.path.rglob("*") if not p.is_dir()}

    assert seen == files.names
    assert {WEIGHTS, "config.json", "additional_chat_templates/tools.jinja"} < seen
    assert {Path(name).suffix for name in seen} <= {".json", ".jinja", ".safetensors"}
    files.keep_only({"config.json"})
    assert files.names == {"config.json"}
    assert [path.name for path in files.path.glob("*.*")] == ["config.json"]


def test_closing_leaves_no_descriptor_and_no_directory(checkpoint: Path) -> None:
    gc.collect()
    before = num_open_files()
    files = held(checkpoint)
    path = files.path

    files.close()
    files.close()

    assert not path.exists()
    assert num_open_files() == before
    load_reward_model(str(checkpoint), "safety")
    gc.collect()
    assert num_open_files() == before


def test_errors_name_the_checkpoints_own_directory(checkpoint: Path) -> None:
    files = held(checkpoint)

    with pytest.raises(CheckpointError) as error, told_by_source(files):
        raise CheckpointError(f"{files.path}/config.json is wrong")

    assert str(error.value) == f"{checkpoint}/config.json is wrong"


def test_a_hub_caches_links_into_its_own_blobs_are_followed(
    checkpoint: Path, tmp_path: Path
) -> None:
    repository = tmp_path / "models--some--model"
    snapshot, blobs = repository / "snapshots" / "abc", repository / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(sorted(checkpoint.iterdir())):
        shutil.copyfile(path, blobs / str(number))
        (snapshot / path.name).symlink_to(Path("..", "..", "blobs", str(number)))

    loaded = load_reward_model(str(snapshot), "safety")

    assert loaded.profile.digest == weights_digest(checkpoint)
    refuse_strange_files(snapshot)
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(checkpoint / "config.json")
    with pytest.raises(UnsafeCheckpoint, match="outside of the checkpoint"):
        load_reward_model(str(snapshot), "safety")
    with pytest.raises(UnsafeCheckpoint, match="outside of the checkpoint"):
        refuse_strange_files(snapshot)


def test_a_directory_with_too_many_files_is_no_checkpoint(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_files, "MAX_FILES", 2)

    with pytest.raises(CheckpointError, match="the directory of one model"):
        held(checkpoint)


@pytest.mark.parametrize("name", [WEIGHTS, "config.json"])
def test_a_link_out_of_the_directory_is_refused(checkpoint: Path, name: str) -> None:
    (checkpoint / name).replace(checkpoint.parent / name)
    (checkpoint / name).symlink_to(checkpoint.parent / name)

    with pytest.raises(UnsafeCheckpoint, match="outside of the checkpoint"):
        held(checkpoint)


def test_a_pipe_is_refused_unopened_and_waits_for_nobody(checkpoint: Path) -> None:
    os.mkfifo(checkpoint / "vocab.txt")

    with pytest.raises(UnsafeCheckpoint, match="a pipe"):
        held(checkpoint)
    with pytest.raises(UnsafeCheckpoint, match="a pipe"):
        refuse_strange_files(checkpoint)


def test_a_link_whose_target_is_gone_is_told_with_the_way_on(checkpoint: Path):
    # As a hub's cache is where somebody deleted blobs.
    (checkpoint / "vocab.json").symlink_to("nowhere.json")
    before = num_open_files()

    with pytest.raises(CheckpointError, match=r"vocab\.json can't be read .*fetch the checkpoint"):
        held(checkpoint)

    assert num_open_files() == before
