"""The shapes that OpenRLHF's agent sends and reads (openrlhf/utils/agent.py)."""

import math

import httpx
import pytest

from tests.service.scripted import ScriptedScorer, serving

KEYS = {
    "safety_reward",
    "safety_score",
    "helpfulness_reward",
    "helpfulness_score",
    "selected_safety",
    "num_tokens",
    "truncated",
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


async def test_an_unsafe_text_gets_the_safety_reward(client):
    reply = await post(client, query=["s=-3 h=9"])

    assert reply["rewards"] == [-3.0]
    assert reply["extra_logs"]["selected_safety"] == [1.0]


async def test_a_whole_shard_is_answered_in_order_under_the_same_keys(client):
    rewards = [float(i) for i in range(20)]

    reply = await post(client, query=[f"s=5 h={reward}" for reward in rewards])

    assert reply["rewards"] == rewards
    assert set(reply["extra_logs"]) == KEYS
    assert all(len(values) == 20 for values in reply["extra_logs"].values())


@pytest.mark.parametrize("field", ["query", "queries"])
async def test_both_names_of_the_queries_are_known_and_a_lone_text_is_a_list_of_one(client, field):
    assert (await post(client, **{field: "s=5 h=2"}))["rewards"] == [2.0]


@pytest.mark.parametrize(
    "body", [{"query": []}, {"query": [], "prompts": [], "labels": []}, {"queries": []}]
)
async def test_the_empty_part_of_a_split_is_answered_with_empty_lists(client, body):
    assert await post(client, **body) == {"rewards": [], "scores": [], "extra_logs": {}}


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


async def test_with_one_model_its_keys_alone_are_there(tmp_path):
    async with serving(tmp_path, ScriptedScorer(model_names=("helpfulness",))) as client:
        reply = await post(client, query=["h=2"])

    assert set(reply["extra_logs"]) == {key for key in KEYS if not key.startswith("safety")}


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


async def test_a_body_without_queries_is_told_so(client):
    reply = await client.post("/get_reward", json={"prompts": ["p"]})

    assert reply.status_code == 422
    assert reply.json()["errors"][0]["pointer"] == "/query"
