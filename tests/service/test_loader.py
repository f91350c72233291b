"""Models are loaded beside others as at the start, if they fit, and their memory comes back."""

import json
from pathlib import Path

import pytest

from rm_core.checkpoint.source import ModelSource
from rm_core.errors import UnsafeCheckpoint
from rm_core.types import Dialogue
from service import loader as loader_module
from service.loader import ModelLoader
from service.settings import Settings
from service.swap.errors import SwapRefused
from tests.models import save_checkpoint


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path / "model")


def loader_of(directory: Path) -> ModelLoader:
    return ModelLoader(Settings(safety_model=str(directory), checkpoint_trial_seconds=0.0))


def test_a_model_is_loaded_scores_and_is_given_back(directory: Path) -> None:
    loader = loader_of(directory)
    engine = loader.load({"safety": ModelSource(str(directory))})
    item = engine.encode(Dialogue("p", "a response"))
    (rewards,) = engine.forward([item])
    assert set(rewards) == {"safety"}

    model = engine._models["safety"].model
    loader.release(engine)
    assert sum(tensor.numel() for tensor in model.parameters()) == 0


def test_what_does_not_fit_is_refused_by_what_it_takes(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader_module, "_free_bytes", lambda _: 2**20)
    with pytest.raises(SwapRefused, match="GiB are free") as caught:
        loader_of(directory).load({"safety": ModelSource(str(directory))})

    assert (caught.value.code, caught.value.status) == ("not_enough_memory", 503)


def test_a_poisoned_checkpoint_is_refused_as_at_the_start(directory: Path) -> None:
    config = directory / "config.json"
    told = json.loads(config.read_text("utf-8")) | {"auto_map": {"AutoModel": "x.y"}}
    config.write_text(json.dumps(told))

    with pytest.raises(UnsafeCheckpoint):
        loader_of(directory).load({"safety": ModelSource(str(directory))})


def test_files_that_were_touched_are_told(directory: Path) -> None:
    loader, sources = loader_of(directory), {"safety": ModelSource(str(directory))}
    first = loader.fingerprint(sources)
    assert loader.fingerprint(sources) == first
    (directory / "config.json").write_text("{}")
    assert loader.fingerprint(sources) != first
