import threading
from typing import Any

import pytest

import rm_core.engine
import service.server
from service.commands import run
from service.settings import Settings


class LoadedEngine:
    def describe(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        pass


def test_the_models_are_loaded_by_a_thread_that_has_ended_when_serving_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaders: list[threading.Thread] = []
    alive_while_serving: list[bool] = []

    def load_engine(**_: Any) -> LoadedEngine:
        loaders.append(threading.current_thread())
        return LoadedEngine()

    def serve(*_: Any) -> int:
        alive_while_serving.append(loaders[0].is_alive())
        return 0

    monkeypatch.setattr(rm_core.engine, "load_engine", load_engine)
    monkeypatch.setattr(service.server, "serve", serve)

    code = run(Settings(safety_model="models/safety"))

    assert code == 0
    assert loaders[0] is not threading.main_thread()
    assert alive_while_serving == [False]
