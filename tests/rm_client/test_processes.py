"""Clients that are pickled, forked, and shared by threads and event loops."""

import asyncio
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from rm_client import (
    AsyncRewardClient,
    FailedReply,
    ItemsFailed,
    Overloaded,
    RequestRefused,
    RewardClient,
)
from tests.rm_client.examples import FAILED, ITEM

ROOT = Path(__file__).parents[2]


def test_a_client_survives_pickling_and_shows_no_key(server_url: str) -> None:
    client = RewardClient(server_url, api_key="s3cret", timeout_seconds=7.0)
    expected = client.score([ITEM])
    other = pickle.loads(pickle.dumps(client))
    assert other.config == client.config
    assert other.score([ITEM]) == expected
    assert "s3cret" not in repr(client) + repr(client.config)


async def test_an_async_client_survives_pickling(server_url: str) -> None:
    async with AsyncRewardClient(server_url) as client:
        expected = await client.score([ITEM])
        async with pickle.loads(pickle.dumps(client)) as other:
            assert await other.score([ITEM]) == expected


def test_methods_of_the_async_client_survive_pickling_by_name() -> None:
    for method in (AsyncRewardClient.score, AsyncRewardClient.ppo_reward, AsyncRewardClient.ready):
        assert pickle.loads(pickle.dumps(method)) is method


def test_one_async_client_serves_several_event_loops(server_url: str) -> None:
    client = AsyncRewardClient(server_url)
    rewards = []

    def work() -> None:
        for _ in range(2):  # a loop of its own each time
            found = asyncio.run(client.score([ITEM]))
            rewards.append(found.items[0].selected_reward)  # type: ignore[union-attr]

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert rewards == [pytest.approx(rewards[0], abs=1e-5)] * 6


def _score_in_child(client: RewardClient, answers: Any) -> None:
    answers.put((os.getpid(), client.score([ITEM]).items[0].selected_reward))  # type: ignore[union-attr]


def test_a_client_survives_a_fork_without_sharing_connections(server_url: str) -> None:
    # A child of a process without other threads' locks: the suite's own process may hold some.
    program = f"""
import multiprocessing
from rm_client import RewardClient
from tests.rm_client.test_processes import ITEM, _score_in_child
client = RewardClient({server_url!r})
before = client.score([ITEM])
context = multiprocessing.get_context("fork")
answers = context.Queue()
children = [context.Process(target=_score_in_child, args=(client, answers)) for _ in range(4)]
for child in children: child.start()
found = [answers.get(timeout=30)[1] for _ in children]
for child in children: child.join(30)
expected = before.items[0].selected_reward
assert all(abs(reward - expected) < 1e-5 for reward in found), found
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)


def test_errors_survive_a_process_pool() -> None:
    for error in (
        Overloaded("m", 3, "key"),
        RequestRefused("m", 422),
        ItemsFailed({0: FailedReply.model_validate(FAILED).error}),
    ):
        other = pickle.loads(pickle.dumps(error))
        assert (type(other), str(other), other.__dict__) == (
            type(error),
            str(error),
            error.__dict__,
        )


def test_threads_share_one_client(server_url: str) -> None:
    with RewardClient(server_url) as client:
        items = [{**ITEM, "response": f"answer {number}"} for number in range(8)]
        expected = [client.score([item]).items[0].selected_reward for item in items]  # type: ignore[union-attr]
        found: dict[int, float] = {}

        def work(number: int) -> None:
            for _ in range(5):
                reply = client.score([items[number]])
                found[number] = reply.items[0].selected_reward  # type: ignore[union-attr]

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert [found[number] for number in range(8)] == pytest.approx(expected, abs=1e-5)
