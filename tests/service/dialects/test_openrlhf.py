"""The shapes that OpenRLHF's agent sends and reads (openrlhf/utils/agent.py)."""

import math

import httpx
import pytest

from tests.service.scripted import serving

KEYS = {
    "safety_reward",
    "safety_score",
    "helpfulness_reward",
    "helpfulness_score",
    "selected_safety",
    "num_tokens",
    "truncated",
    "response_truncated",
    "missing_eos",
    "failed",
}


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


async def post(client: httpx.AsyncClient, **body: object) -> dict:
    reply = await client.post("/get_reward", json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


async def test_one_sample_gets_lists_of_one(client):
    reply = await post(client, query=["p s=5 h=1.5"], prompts=["p "], labels=[None])

    assert reply["rewards"] == [1.5]
    assert reply["scores"] == [pytest.approx(sigmoid(1.5))]
    logs = {key: value for key, (value,) in reply["extra_logs"].items()}
    assert set(logs) == KEYS
    assert (logs["safety_reward"], logs["helpfulness_reward"]) == (5.0, 1.5)
    assert logs["safety_score"] == pytest.approx(sigmoid(5.0))
    assert logs["selected_safety"] == 0.0
    assert all(isinstance(value, float) for value in logs.values())


async def test_scores_stay_inside_the_open_interval_that_is_filtered_by(client):
    reply = await post(client, query=["s=5 h=1000", "s=99 h=-1000"])

    assert reply["rewards"] == [1000.0, -1000.0]
    assert all(0.0 < score < 1.0 for score in reply["scores"])


async def test_labels_may_be_anything_also_what_is_no_strict_json(client):
    reply = await client.post(
        "/get_reward",
        content=b'{"query": ["s=5 h=2"], "prompts": [""], "labels": [NaN], "more": Infinity}',
        headers={"Content-Type": "application/json"},
    )

    assert reply.json()["rewards"] == [2.0]


async def test_a_bad_sample_fails_the_shard_and_says_which_it_was(client):
    reply = await client.post("/get_reward", json={"query": ["s=5 h=1", " ", None, "s=5 h=2"]})

    assert reply.status_code == 422
    assert [error["pointer"] for error in reply.json()["errors"]] == ["/query/1", "/query/2"]
    assert "REWARDD_DIALECT_FALLBACK_REWARD" in reply.json()["detail"]


async def test_with_a_fallback_the_shard_lives_and_the_bad_sample_is_marked(tmp_path):
    async with serving(tmp_path, dialect_fallback_reward=-7.0) as client:
        reply = await post(client, query=["s=5 h=1", " ", None, "h=nan", "s=5 h=2"])

    assert reply["rewards"] == [1.0, -7.0, -7.0, -7.0, 2.0]
    assert reply["extra_logs"]["failed"] == [0.0, 1.0, 1.0, 1.0, 0.0]
    assert all(0.0 < score < 1.0 for score in reply["scores"])
    assert set(reply["extra_logs"]) == KEYS
