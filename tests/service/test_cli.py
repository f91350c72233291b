import socket
import threading
from pathlib import Path
from typing import Any

import pytest

import rm_core.engine
import service.app
import service.server
from rm_core.checkpoint.open_files import NO_CAUTION
from rm_core.checkpoint.source import ModelSource
from rm_core.engine.options import EngineOptions
from rm_core.errors import ConfigurationError
from rm_core.text.contract import ContractOverrides
from service.cli import run
from service.settings import Settings
from service.watchdog.engine_watch import EngineWatch
from service.watchdog.limits import WatchLimits
from service.watchdog.watchdog import Watchdog
from tests.fakes import FakeScorer


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """State goes to a directory of the test's own, nothing is tried, and nobody guards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Watchdog, "start", lambda _: None)
    monkeypatch.setenv("REWARDD_CHECKPOINT_TRIAL_SECONDS", "0")


class LoadedEngine(FakeScorer):
    def describe(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        pass


def test_the_models_are_loaded_by_a_thread_that_has_ended_when_serving_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaders: list[threading.Thread] = []
    alive_while_serving: list[bool] = []

    def load_engine(*_: Any, **__: Any) -> LoadedEngine:
        loaders.append(threading.current_thread())
        return LoadedEngine()

    def serve(*_: Any, **__: Any) -> int:
        alive_while_serving.append(loaders[0].is_alive())
        return 0

    monkeypatch.setattr(rm_core.engine, "load_engine", load_engine)
    monkeypatch.setattr(service.server, "serve", serve)

    code = run(Settings(safety_model="models/safety", port=0))

    assert code == 0
    assert loaders[0] is not threading.main_thread()
    assert alive_while_serving == [False]


def test_what_the_settings_say_of_loading_reaches_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    given: dict[str, Any] = {}

    def load_engine(
        models: dict[str, ModelSource], options: EngineOptions, **where: Any
    ) -> LoadedEngine:
        given.update(where, models=models, options=options)
        return LoadedEngine()

    monkeypatch.setattr(rm_core.engine, "load_engine", load_engine)
    monkeypatch.setattr(service.server, "serve", lambda *_, **__: 0)

    run(
        Settings(
            safety_model="models/safety#harm",
            safety_layer=7,
            models={"brief": {"path": "models/brief", "rendering": "concatenate", "bias": 1.5}},
            port=0,
            device="cuda:1",
            dtype="bfloat16",
            compile_layers=True,
            products="mkl",
            read_position="last_token",
            safety_rendering="pair",
            template_date="2024-07-26",
        )
    )

    assert given == {
        "models": {
            "safety": ModelSource("models/safety", "harm", 7),
            "brief": ModelSource("models/brief", bias=1.5),
        },
        "device": "cuda:1",
        "caution": NO_CAUTION,
        "options": EngineOptions(
            dtype="bfloat16",
            compile_layers=True,
            products="mkl",
            products_file=tmp_path / "rewardd" / "products.json",
        ),
        "overrides": {
            "safety": ContractOverrides("last_token", "pair", "2024-07-26"),
            "helpfulness": ContractOverrides("last_token", None, "2024-07-26"),
            "brief": ContractOverrides("last_token", "concatenate", "2024-07-26"),
        },
    }


def test_settings_without_a_model_are_refused_by_the_names_that_they_could_give() -> None:
    with pytest.raises(ConfigurationError, match="name a safety or helpfulness model"):
        run(Settings())


def test_a_port_in_use_is_told_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_engine(*_: Any, **__: Any) -> None:
        raise AssertionError("the models were loaded")

    monkeypatch.setattr(rm_core.engine, "load_engine", load_engine)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(safety_model="models/safety", port=taken.getsockname()[1])
        with pytest.raises(ConfigurationError, match="is in use"):
            run(settings)


def test_loading_is_watched_and_serving_begins_with_what_warming_up_has_taught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch = EngineWatch(limits=WatchLimits(load=-1.0))
    told: list[str | None] = []
    given: dict[str, Any] = {}

    def load_engine(*_: Any, **__: Any) -> LoadedEngine:
        told.append(watch.watchdog.cause)
        return LoadedEngine()

    def serve(*_: Any, **options: Any) -> int:
        given.update(options)
        return 0

    monkeypatch.setattr(service.app, "engine_watch", lambda _: watch)
    monkeypatch.setattr(rm_core.engine, "load_engine", load_engine)
    monkeypatch.setattr(service.server, "serve", serve)

    run(Settings(safety_model="models/safety", port=0))

    assert [cause and cause.partition(" has")[0] for cause in told] == ["load in thread MainThread"]
    assert watch.watchdog.cause is None
    assert given["watch"] is watch
    assert watch.pack_times.limit(100)[0] == "forward"
