import tomllib
from pathlib import Path

import pytest

from loadtest.bench.training.prepared import Prepared
from loadtest.bench.training.settings import TrainingSettings
from loadtest.bench.training.trainers import our_settings, to_toml, train, trl_job
from loadtest.errors import LoadTestError, PeerError
from tests.loadtest.bench.training.made_up import fake_python, prepared_of
from training.config import load_config

TOLD = {
    "seconds": 3.0,
    "update_seconds": [1.0, 2.0],
    "sequence_tokens": 100,
    "computed_tokens": 150,
    "peak_bytes": 1000,
    "pairs": 6,
    "texts": ["aa", "bb"],
    "versions": {"trl": "1.0"},
}


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    return prepared_of(tmp_path, "kwise", *[(0, 1, 2, 3)] * 8)


def settings(tmp_path: Path, trl_python: Path | None) -> TrainingSettings:
    return TrainingSettings(tmp_path, directory=tmp_path, trl_python=trl_python)


def test_both_trainers_get_one_recipe(prepared: Prepared, tmp_path: Path):
    text = to_toml(our_settings(prepared, 3, tmp_path / "out", packing=True))
    (tmp_path / "ours.toml").write_text(text)

    ours = load_config(tmp_path / "ours.toml", {})  # every setting is one that training knows
    theirs = trl_job(prepared, 2, 3, tmp_path / "out", grouped=False)

    for name, value in theirs["recipe"].items():
        assert getattr(ours, name) == value, name
    assert ours.seed == theirs["seed"] == 3
    assert ours.max_length == theirs["max_length"]
    assert ours.base == theirs["model"]
    assert (ours.batch_size, theirs["batch"]) == (4, 24)  # six pairs a ranking
    assert tomllib.loads(text)["objective"] == "kwise"


def test_what_the_worker_tells_comes_back(prepared: Prepared, tmp_path: Path):
    python = fake_python(tmp_path / "python", TOLD)

    found = train("trl", prepared, 1, settings(tmp_path, python))

    assert found.checkpoint == tmp_path / "training" / "kwise" / "trl-1"
    assert found.update_seconds == (1.0, 2.0)
    assert found.pairs == 6
    assert found.texts == ("aa", "bb")


def test_a_worker_that_fails_is_quoted(prepared: Prepared, tmp_path: Path):
    python = fake_python(tmp_path / "python", TOLD, error="no module named trl")

    with pytest.raises(PeerError, match="no module named trl"):
        train("trl-grouped", prepared, 0, settings(tmp_path, python))


def test_without_a_python_for_trl_there_is_no_run(prepared: Prepared, tmp_path: Path):
    with pytest.raises(LoadTestError, match="--trl-python"):
        train("trl", prepared, 0, settings(tmp_path, None))
