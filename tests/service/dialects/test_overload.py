"""Overload as the clients bear it, over real connections: every dialect waits, and not for ever."""

import asyncio
import re
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rm_core.types import EncodedItem, ItemRewards
from service.dialects.base import ClientTimeout
from service.dialects.registry import DIALECTS
from tests.server_process import ROOT
from tests.service.dialects.bodies import TONGUES, Tongue
from tests.service.rig import until
from tests.service.scripted import ScriptedScorer
from tests.service.sockets import Listening, Reply, listening

QUEUE = {"max_queue_items": 16, "max_items": 16, "max_pack_items": 8}


class Held(ScriptedScorer):
    """A scorer whose device works only while its gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def forward(self, items: Sequence[EncodedItem]) -> list[ItemRewards]:
        assert self.gate.wait(60)
        return super().forward(items)


def text(number: int) -> str:
    return f"said s=5 h={number}"


def ask(at: Listening, tongue: Tongue, number: int) -> "asyncio.Task[Reply]":
    return asyncio.create_task(at.post(tongue.path, tongue.body(text(number))))


@pytest.mark.parametrize("tongue", TONGUES, ids=lambda tongue: tongue.name)
async def test_two_hundred_at_once_on_a_queue_of_16_are_all_served(
    tmp_path: Path, tongue: Tongue
) -> None:
    scorer = Held()
    async with listening(tmp_path, scorer, **QUEUE) as at:
        sent = [ask(at, tongue, number) for number in range(200)]
        await at.until_waiting(200 - 12)  # a quarter of the queue is left to others
        scorer.gate.set()
        replies = await asyncio.gather(*sent)

        assert [reply.status for reply in replies] == [200] * 200
        assert [tongue.read(reply.json()) for reply in replies] == [float(n) for n in range(200)]
        assert at.value("rm_waiting_bytes") == 0


async def test_native_routes_are_refused_early_and_yet_find_room_beside_a_line(
    tmp_path: Path,
) -> None:
    scorer = Held()
    async with listening(tmp_path, scorer, **QUEUE) as at:
        sent = [ask(at, TONGUES[0], number) for number in range(100)]
        await at.until_waiting(88)
        items = [{"prompt": "p", "response": text(number)} for number in range(5)]
        refused = await at.post("/score", {"items": items})
        served = asyncio.create_task(at.post("/score", items[0]))
        await until(lambda: at.state.scheduler._admission.items == 13)
        scorer.gate.set()

        assert (await served).status == 200
        assert refused.status == 429
        await asyncio.gather(*sent)


@pytest.mark.parametrize("tongue", TONGUES, ids=lambda tongue: tongue.name)
async def test_when_the_wait_is_over_it_is_503_with_retry_after_whatever_the_setting(
    start: Any, monkeypatch: pytest.MonkeyPatch, tongue: Tongue
) -> None:
    monkeypatch.setattr(ClientTimeout, "patience_seconds", property(lambda _: 0.01))
    async with (
        start(max_items=1, max_queue_items=1, overload_status=429) as service,
        service.holding(),
    ):
        refused = await service.client.post(tongue.path, json=tongue.body("hello there"))
        left = service.state.scheduler._admission.items

    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert left == 1


async def test_what_the_caller_itself_says_counts_more_than_its_dialects_patience(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClientTimeout, "patience_seconds", property(lambda _: 0.01))
    async with start(max_items=1, max_queue_items=1) as service, service.holding():
        reply = await service.client.post(
            "/get_reward", json={"query": ["a"]}, headers={"X-Request-Timeout-Ms": "100"}
        )

    assert reply.status_code == 504


async def test_a_caller_that_is_gone_leaves_the_line(tmp_path: Path) -> None:
    scorer = Held()
    async with listening(tmp_path, scorer, **QUEUE) as at:
        sent = [ask(at, TONGUES[0], number) for number in range(12)]
        await until(lambda: at.state.scheduler._admission.items == 12)
        _, writer = await at.send("/get_reward", {"query": [text(99)]})
        await at.until_waiting(1)
        last = ask(at, TONGUES[0], 12)
        await at.until_waiting(2)

        writer.close()
        await at.until_waiting(1)
        scorer.gate.set()

        replies = await asyncio.gather(*sent, last)
        assert [reply.json()["rewards"] for reply in replies] == [[float(n)] for n in range(13)]
        assert scorer.num_scored == 13


async def test_a_drain_answers_whoever_waits_before_it_ends(tmp_path: Path) -> None:
    scorer = Held()
    async with listening(
        tmp_path, scorer, drain_delay_seconds=0.0, drain_timeout_seconds=1.0, **QUEUE
    ) as at:
        sent = [ask(at, TONGUES[0], number) for number in range(30)]
        await at.until_waiting(18)
        at.server.handle_exit(signal.SIGTERM, None)
        # The rest, eight at most, is on the device.
        await until(lambda: sum(task.done() for task in sent) >= 22)
        scorer.gate.set()
        replies = await asyncio.gather(*sent)

    refused = [reply for reply in replies if reply.status == 503]
    assert {reply.headers["connection"] for reply in refused} == {"close"}
    assert all(int(reply.headers["retry-after"]) >= 1 for reply in refused)
    for number, reply in enumerate(replies):
        assert reply in refused or reply.json()["rewards"] == [float(number)]
    assert at.server.exit_code == 0


async def test_what_is_sent_to_a_dialect_is_bounded_in_bytes(tmp_path: Path) -> None:
    scorer = Held()
    async with listening(tmp_path, scorer, max_waiting_bytes=100_000, **QUEUE) as at:
        first = ask(at, TONGUES[0], 1)
        await until(lambda: at.state.scheduler._admission.items == 1)
        refused = await at.post("/rm", {"prompt": "p", "response": "r" * 100_000})
        scorer.gate.set()

        assert refused.status == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert (await first).status == 200


def test_a_request_waits_a_little_less_long_than_its_client() -> None:
    for dialect in DIALECTS:
        timeout = dialect.client_timeout
        assert timeout.source
        assert timeout.patience_seconds < (timeout.seconds or 301.0)
        assert timeout.patience_seconds >= (timeout.seconds or 300.0) * 0.75


def test_the_documents_have_every_dialects_patience_and_its_source() -> None:
    text = (ROOT / "docs" / "guides" / "dialects.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` `(/\S*)` \| (.+) \| (.+) \| (.+) \|$", text, re.MULTILINE)

    assert rows == [
        (
            dialect.name,
            dialect.path,
            "none" if timeout.seconds is None else f"{timeout.seconds:g} s",
            f"{timeout.patience_seconds:g} s",
            timeout.source,
        )
        for dialect in DIALECTS
        for timeout in [dialect.client_timeout]
    ]
