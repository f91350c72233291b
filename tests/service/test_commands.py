import subprocess
import sys
import threading
from typing import Any

import pytest

import rm_core.engine
import service.server
from service.commands import limit_spinning, run
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

    monkeypatch.setenv("GOMP_SPINCOUNT", "1")  # else it would stay set for other tests
    monkeypatch.setattr(rm_core.engine, "load_engine", load_engine)
    monkeypatch.setattr(service.server, "serve", serve)

    code = run(Settings(safety_model="models/safety"))

    assert code == 0
    assert loaders[0] is not threading.main_thread()
    assert alive_while_serving == [False]


def test_idle_workers_spin_briefly_unless_somebody_said_otherwise() -> None:
    mine: dict[str, str] = {}
    limit_spinning(mine)
    assert 10_000 <= int(mine["GOMP_SPINCOUNT"]) < 300_000

    for said in ({"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "7"}):
        environment = dict(said)
        limit_spinning(environment)
        assert environment == said


def test_the_limit_is_set_before_torch_comes_into_the_process() -> None:
    program = (
        "import os, sys\n"
        "import service.commands as commands\n"
        "from service.settings import Settings\n"
        "commands.limit_spinning = lambda e: print('torch' in sys.modules)\n"
        "commands.run(Settings(safety_model='no/such/model'))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ended.stdout.splitlines()[:1] == ["False"], ended.stderr[-500:]
