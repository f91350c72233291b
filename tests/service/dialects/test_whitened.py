"""A whitened sample counts once: by its key, or because its reply never left us."""

import asyncio
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from rm_core.types import EncodedItem, ItemRewards
from service.streams.unanswered_table import Unanswered
from tests.service.dialects.bodies import TONGUES, Tongue
from tests.service.rig import until
from tests.service.scripted import ScriptedScorer, running, serving
from tests.service.sockets import listening

PATH = "/rm?reward=whitened&stream=run"
BODY = {"prompt": "p", "response": "s=5 h=1"}


async def count(client: httpx.AsyncClient) -> int:
    return (await client.get("/streams/run")).json()["num_samples"]


@pytest.mark.parametrize("tongue", TONGUES, ids=lambda tongue: tongue.name)
async def test_the_same_key_and_body_give_the_same_bytes_and_count_once(
    client: httpx.AsyncClient, scorer: ScriptedScorer, tongue: Tongue
) -> None:
    path = f"{tongue.path}{'&' if '?' in tongue.path else '?'}reward=whitened&stream=run"

    async def ask(value: float, key: str) -> httpx.Response:
        body = tongue.body(f"said s=5 h={value}")
        return await client.post(path, json=body, headers={"Idempotency-Key": key})

    first = await ask(1.0, "a")
    await ask(3.0, "b")
    again = await ask(1.0, "a")
    other = await ask(2.0, "a")

    assert first.status_code == 200
    assert again.content == first.content
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_conflict")
    assert await count(client) == 2
    assert scorer.num_scored == 2


async def test_a_key_is_of_one_address(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "a"}
    await client.post(PATH, json=BODY, headers=headers)

    other = await client.post("/rm?reward=whitened&stream=two", json=BODY, headers=headers)

    assert other.status_code == 422


async def test_twins_with_a_key_at_the_same_time_count_once(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "a"}
    replies = await asyncio.gather(
        *(client.post(PATH, json=BODY, headers=headers) for _ in range(8))
    )

    assert {reply.content for reply in replies} == {replies[0].content}
    assert await count(client) == 1


async def test_a_replay_keeps_its_warnings_failures_and_numbers(tmp_path: Path) -> None:
    body = {"query": ["s=5 h=1", " ", "s=-4 h=2"]}
    headers = {"Idempotency-Key": "a"}
    path = "/get_reward?reward=whitened&stream=run"
    async with serving(tmp_path, dialect_fallback_reward=-9.0) as client:
        first = await client.post(path, json=body, headers=headers)
    async with serving(tmp_path) as client:  # its present setting is another's affair
        again = await client.post(path, json=body, headers=headers)
        counted = await count(client)

    assert first.json()["rewards"][1] == -9.0
    assert first.json()["extra_logs"]["failed"] == [0.0, 1.0, 0.0]
    assert first.json()["extra_logs"]["selected_safety"] == [0.0, 0.0, 1.0]
    assert again.content == first.content
    assert again.headers["X-Rewardd-Warnings"] == "failed;count=1"
    assert counted == 2


async def test_equal_bodies_without_a_key_are_two_samples(client: httpx.AsyncClient) -> None:
    one_after_the_other = [await client.post(PATH, json=BODY) for _ in range(2)]
    together = await asyncio.gather(*(client.post(PATH, json=BODY) for _ in range(3)))

    assert await count(client) == 5
    for reply in (*one_after_the_other, *together):
        assert "Idempotency-Replayed" not in reply.headers


class Slow(ScriptedScorer):
    """Works while its gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def forward(self, items: Sequence[EncodedItem]) -> list[ItemRewards]:
        assert self.gate.wait(60)
        return super().forward(items)


async def test_equal_bodies_in_flight_together_are_two_samples(tmp_path: Path) -> None:
    scorer = Slow()
    async with listening(tmp_path, scorer) as at:
        sent = [asyncio.create_task(at.post(PATH, BODY)) for _ in range(2)]
        await until(lambda: at.state.scheduler._admission.items == 2)
        scorer.gate.set()
        replies = await asyncio.gather(*sent)

        assert [reply.status for reply in replies] == [200, 200]
        assert (await at.state.streams.store.get("run")).num_samples == 2


async def test_a_body_whose_caller_left_before_the_reply_counts_once_when_it_comes_again(
    tmp_path: Path,
) -> None:
    scorer = Slow()
    async with listening(tmp_path, scorer) as at:
        store, disk = at.state.streams.store, threading.Event()
        _, writer = await at.send(PATH, BODY)
        await until(lambda: at.state.scheduler._admission.items == 1)
        held = store._thread.submit(disk.wait, 60)  # the transaction waits behind it
        scorer.gate.set()
        await until(lambda: at.value("rm_sequences_total", route="/rm") == 1)
        writer.close()
        await until(lambda: not at.server.server_state.connections)
        disk.set()
        assert held.result()
        await until(lambda: at.value("rm_http_aborted_total", reason="client_disconnect") == 1)

        again = await at.post(PATH, BODY)
        counted = (await store.get("run")).num_samples
        another = await at.post(PATH, BODY)

        assert again.headers["idempotency-replayed"] == "true"
        assert counted == 1
        assert "idempotency-replayed" not in another.headers
        assert (await store.get("run")).num_samples == 2
        assert at.value("rm_idempotency_total", result="resent") == 1


async def test_a_caller_that_leaves_before_anything_counted_leaves_no_trace(
    tmp_path: Path,
) -> None:
    scorer = Slow()
    async with listening(tmp_path, scorer) as at:
        _, writer = await at.send(PATH, BODY)
        await until(lambda: at.state.scheduler._admission.items == 1)
        writer.close()
        await until(lambda: at.value("rm_http_aborted_total", reason="client_disconnect") == 1)
        scorer.gate.set()

        assert await at.state.streams.store.get_all() == []
        assert "idempotency-replayed" not in (await at.post(PATH, BODY)).headers


async def killed_before_its_reply(directory: Path, path: str, **settings: Any) -> httpx.Response:
    """The reply; the state is copied to "second" before it left, as a kill then leaves it."""
    async with running(directory / "first", ScriptedScorer(), **settings) as (app, client):
        store = app.state.rewardd.streams.store
        settle_now = store.settle_now

        def killed(unanswered: Unanswered, answered: bool) -> None:
            if not (directory / "second").exists():
                shutil.copytree(directory / "first", directory / "second")
            settle_now(unanswered, answered)

        store.settle_now = killed
        return await client.post(path, json=BODY)


async def test_what_a_kill_left_unanswered_counts_once_after_the_restart(tmp_path: Path) -> None:
    first = await killed_before_its_reply(tmp_path, PATH)
    async with serving(tmp_path / "second") as client:
        again = await client.post(PATH, json=BODY)
        counted = await count(client)
        another = await client.post(PATH, json=BODY)

        assert (again.json(), again.headers["Idempotency-Replayed"]) == (first.json(), "true")
        assert counted == 1
        assert "Idempotency-Replayed" not in another.headers
        assert await count(client) == 2


async def test_a_kill_and_other_settings_make_it_another_question(tmp_path: Path) -> None:
    path = PATH.replace("&stream=run", "")
    first = await killed_before_its_reply(tmp_path, path, dialect_stream="old")
    async with serving(tmp_path / "second", dialect_stream="run") as client:
        again = await client.post(path, json=BODY)

        assert first.status_code == 200
        assert "Idempotency-Replayed" not in again.headers
        assert await count(client) == 1


async def test_an_answered_body_is_another_sample_after_a_restart(tmp_path: Path) -> None:
    for expected in (1, 2):
        async with serving(tmp_path) as client:
            await client.post(PATH, json=BODY)
            assert await count(client) == expected


@pytest.mark.parametrize(
    "other",
    [
        ScriptedScorer(model_names=("helpfulness",)),
        ScriptedScorer(temperature=3.0),
    ],
    ids=["fewer models", "another calibration"],
)
async def test_a_replay_is_by_the_models_that_answered_whatever_is_loaded_now(
    tmp_path: Path, other: ScriptedScorer
) -> None:
    headers = {"Idempotency-Key": "a"}
    path = PATH.replace("/rm?", "/rm?detail=1&")
    async with serving(tmp_path) as client:
        first = await client.post(path, json=BODY, headers=headers)
    async with serving(tmp_path, other, tau=0.9) as client:
        again = await client.post(path, json=BODY, headers=headers)
        counted = await count(client)

    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.content == first.content
    assert counted == 1


async def test_a_stream_that_is_set_back_forgets_what_was_not_answered(tmp_path: Path) -> None:
    async with running(tmp_path, ScriptedScorer()) as (app, client):
        store = app.state.rewardd.streams.store
        settle, lost = store.settle, []

        async def lose(unanswered: Unanswered, *, answered: bool) -> None:
            lost.append(answered)
            await settle(unanswered, answered=False)

        store.settle = lose
        await client.post(PATH, json=BODY)
        store.settle = settle
        await client.delete("/streams/run")

        again = await client.post(PATH, json=BODY)

        assert lost == [True]
        assert "Idempotency-Replayed" not in again.headers
        assert await count(client) == 1
