"""A request without a key whose reply was lost counts once when it comes again; others count."""

import asyncio
import shutil
import threading
from pathlib import Path
from typing import Any

import httpx

from service.streams.unanswered_table import Unanswered
from tests.service.rig import until
from tests.service.routes.ppo_calls import count_of, post
from tests.service.scripted import ScriptedScorer, response_item, running, serving
from tests.service.sockets import listening

ITEMS = {"items": [response_item(1.0), response_item(2.0)]}


async def test_equal_requests_that_were_answered_all_count(client: httpx.AsyncClient) -> None:
    for _ in range(2):
        reply = await post(client, *ITEMS["items"])
        assert "Idempotency-Replayed" not in reply.headers
    await asyncio.gather(*(post(client, *ITEMS["items"]) for _ in range(3)))

    assert await count_of(client) == 10


async def test_what_a_kill_left_unanswered_counts_once_after_the_restart(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    async with running(first, ScriptedScorer()) as (app, client):
        store = app.state.rewardd.streams.store
        settle_now = store.settle_now

        def killed(unanswered: Unanswered, answered: bool) -> None:
            shutil.copytree(first, second)
            settle_now(unanswered, answered)

        store.settle_now = killed
        lost = await post(client, *ITEMS["items"])
    async with serving(second) as client:
        again = await post(client, *ITEMS["items"])
        counted = await count_of(client)
        another = await post(client, *ITEMS["items"])

        assert again.content == lost.content
        assert again.headers["Idempotency-Replayed"] == "true"
        assert counted == 2
        assert "Idempotency-Replayed" not in another.headers
        assert await count_of(client) == 4


async def test_a_caller_that_left_while_its_rewards_were_committed_is_counted_once(
    tmp_path: Path,
) -> None:
    async with listening(tmp_path, ScriptedScorer()) as at:
        store, disk = at.state.streams.store, threading.Event()
        apply_now = store.apply_now
        at_work = threading.Event()

        def slow(*given: Any) -> Any:
            at_work.set()
            disk.wait(60)
            return apply_now(*given)

        store.apply_now = slow  # type: ignore[method-assign]
        _, writer = await at.send("/ppo_reward", ITEMS)
        await until(at_work.is_set)
        writer.close()
        await until(lambda: at.value("rm_http_aborted_total", reason="client_disconnect") == 1)
        disk.set()

        again = await at.post("/ppo_reward", ITEMS)

        assert again.headers["idempotency-replayed"] == "true"
        assert (await store.get("default")).num_samples == 2
        assert at.value("rm_idempotency_total", result="resent") == 1


async def test_a_retry_that_was_at_work_beside_the_lost_one_counts_once(tmp_path: Path) -> None:
    """It found nothing to take up when it began: the first had not lost its reply yet."""
    async with running(tmp_path, ScriptedScorer()) as (app, client):
        store = app.state.rewardd.streams.store
        claimed: list[bytes] = []

        async def nothing_yet(digest: bytes) -> None:
            claimed.append(digest)

        settle = store.settle

        async def lost(unanswered: Unanswered, *, answered: bool) -> None:
            await settle(unanswered, answered=False)

        store.claim, store.settle = nothing_yet, lost
        replies = [await post(client, *ITEMS["items"]) for _ in range(2)]

        assert len(claimed) == 2
        assert replies[0].content == replies[1].content
        assert await count_of(client) == 2


async def test_nothing_is_kept_of_a_request_that_changed_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, ScriptedScorer()) as (app, client):
        store = app.state.rewardd.streams.store
        settled: list[bool] = []

        async def settle(_: Unanswered, *, answered: bool) -> None:
            settled.append(answered)

        store.settle = settle
        await post(client, *ITEMS["items"], whiten={"mode": "batch"})

        assert settled == []
