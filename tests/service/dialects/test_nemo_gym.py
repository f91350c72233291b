"""NeMo-RL asserts reward == sum(reward_components) (nemo_gym.py)."""

import pytest

from rm_core.types import Dialogue, Message
from tests.service.scripted import serving


def rollout(text: str, **params: object) -> dict:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {
        "responses_create_params": {"input": "q", **params},
        "response": {
            "id": "resp_1",
            "output": [
                {"type": "reasoning", "summary": []},
                {"type": "message", "role": "assistant", "content": [part]},
            ],
        },
        "verifier_metadata": {"a": [1, None]},
    }


@pytest.mark.parametrize(("text", "safety"), [("s=5 h=0.1", False), ("s=-3.3 h=0.2", True)])
async def test_the_body_comes_back_with_a_reward_that_is_the_sum_of_its_parts(client, text, safety):
    body = rollout(text)

    reply = (await client.post("/verify", json=body)).json()

    components = reply.pop("reward_components")
    assert reply.pop("reward") == sum(components.values()) == (-3.3 if safety else 0.1)
    assert components["helpfulness" if safety else "safety"] == 0.0
    assert reply == body


@pytest.mark.parametrize(
    ("params", "prompt"),
    [
        ({"input": "q"}, "q"),
        (
            {"input": "q", "instructions": "be kind"},
            (Message("system", "be kind"), Message("user", "q")),
        ),
        (
            {
                "input": [
                    {"role": "developer", "content": "d"},
                    {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "1"},
                    {"role": "user", "content": [{"type": "input_text", "text": "q"}]},
                ]
            },
            (Message("system", "d"), Message("user", "q")),
        ),
    ],
)
async def test_the_prompt_is_all_that_was_said_before(client, scorer, params, prompt):
    await client.post("/verify", json=rollout("s=5 h=1", **params))

    assert [text for text, _ in scorer.asked] == [Dialogue(prompt, "s=5 h=1", allow_empty=True)]


async def test_a_body_too_deep_to_repeat_is_refused(client):
    body = rollout("s=5 h=1")
    deep: object = 1
    for _ in range(600):
        deep = [deep]

    reply = await client.post("/verify", json={**body, "deep": deep})

    assert reply.status_code == 422


async def test_a_rollout_that_cannot_be_judged_has_no_reward_of_ours(client):
    reply = await client.post("/verify", json=rollout("h=nan"))

    assert (reply.status_code, reply.json()["code"]) == (422, "nonfinite_reward")
    assert "reward" not in reply.json()


async def test_with_a_fallback_it_is_a_reply_with_the_reason(tmp_path):
    async with serving(tmp_path, dialect_fallback_reward=-7.5) as client:
        reply = (await client.post("/verify", json=rollout("h=nan"))).json()

    assert reply["reward"] == sum(reply["reward_components"].values()) == -7.5
    assert reply["_ng_failure_class"] == "nonfinite_reward"


async def test_an_agent_goes_from_session_to_reward(client):
    task = {"responses_create_params": {"input": "q"}, "_ng_task_index": 3, "extra": None}

    seeded = await client.post("/seed_session", json=task)
    mode = await client.get("/reverify_mode")

    assert (seeded.status_code, seeded.json()) == (200, {})
    assert mode.json() == "stateless"


async def test_a_session_is_begun_by_an_object_alone(client):
    refused = await client.post("/seed_session", json=[None, None])

    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
