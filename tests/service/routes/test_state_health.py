"""A state that can't be used: its routes say why, and those that need none go on."""

from collections.abc import Callable
from pathlib import Path

import pytest

from service.streams.database import STATE_FILE
from service.streams.marker import marker_of
from tests.service.routes.ppo_calls import count_of, post
from tests.service.scripted import ScriptedScorer, response_item, running


def vanish(state: Path) -> None:
    state.unlink()


def empty(state: Path) -> None:
    state.write_bytes(b"")


def flip(state: Path) -> None:
    whole = bytearray(state.read_bytes())
    whole[whole.rindex(b"default") + len(b"default") + 4] ^= 1  # in the stream's count
    state.write_bytes(whole)


def not_even_a_database(state: Path) -> None:
    state.write_bytes(b"not a database" * 1000)


@pytest.mark.parametrize(
    ("attack", "kind"),
    [(vanish, "lost"), (empty, "lost"), (flip, "damaged"), (not_even_a_database, "damaged")],
)
async def test_what_needs_no_statistics_goes_on_beside_a_state_that_is_gone(
    tmp_path: Path, attack: Callable[[Path], None], kind: str
) -> None:
    async with running(tmp_path, ScriptedScorer()) as (_, client):
        await post(client, response_item(1.0))
    attack(tmp_path / STATE_FILE)

    async with running(tmp_path, ScriptedScorer()) as (app, client):
        asked = {"prompt": "p", "response": "s=1"}
        scored = [
            await client.post("/score", json=asked),
            await client.post("/compare", json={"prompt": "p", "responses": ["s=1", "s=2"]}),
            await client.post("/rm", json=asked),
            await client.get("/health/ready"),
        ]
        refused = [
            await post(client, response_item(1.0)),
            await post(client, response_item(1.0), key="k"),
            await client.post("/rm?reward=whitened", json=asked),
            await client.get("/streams"),
            await client.put("/streams/run", json={"frozen": True}),
            await client.delete("/streams/default"),
        ]
        health = await client.get("/health/state")
        registry = app.state.rewardd.metrics.registry

        assert {reply.status_code for reply in scored} == {200}
        assert {reply.status_code for reply in refused} == {503}
        assert {reply.json()["code"] for reply in refused} == {"state_unavailable"}
        assert (health.status_code, health.json()["code"]) == (503, f"state_{kind}")
        assert "stop the server" in health.json()["detail"]
        assert registry.get_sample_value("rm_state_fault", {"kind": kind}) == 1.0
        assert registry.get_sample_value("rm_state_faults_total", {"kind": kind}) == 1.0

    for left in (tmp_path / STATE_FILE, marker_of(tmp_path / STATE_FILE)):
        left.unlink(missing_ok=True)
    async with running(tmp_path, ScriptedScorer()) as (_, client):
        assert (await client.get("/health/state")).json() == {"status": "usable"}
        await post(client, response_item(1.0))
        assert await count_of(client) == 1


async def test_a_full_disk_is_over_when_there_is_room(tmp_path: Path) -> None:
    async with running(tmp_path, ScriptedScorer()) as (app, client):
        await post(client, response_item(1.0), key="a")
        connection = app.state.rewardd.streams.store._file.connection
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        many = [response_item(1.0, id=str(number)) for number in range(200)]

        refused = await post(client, *many, key="b")
        fault = app.state.rewardd.streams.store.fault
        scored = await client.post("/score", json={"prompt": "p", "response": "s=1"})
        replayed = await post(client, response_item(1.0), key="a")
        connection.execute("PRAGMA max_page_count = 100000")
        again = await post(client, *many, key="b")

        assert (refused.status_code, fault.kind) == (503, "disk_full")
        assert scored.status_code == replayed.status_code == again.status_code == 200
        assert (await client.get("/health/state")).status_code == 200
        assert await count_of(client) == 201
