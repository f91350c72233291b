"""slime reads the whole body as the reward (slime/rollout/rm_hub)."""

import pytest


async def test_the_whole_reply_is_the_number(client):
    reply = await client.post("/rm", json={"prompt": "p", "response": "s=5 h=1.5", "label": None})

    assert reply.headers["content-type"] == "application/json"
    assert reply.text == "1.5"
    assert float(reply.json()) == 1.5


async def test_a_chat_is_a_prompt_too(client):
    prompt = [{"role": "system", "content": "x"}, {"role": "user", "content": "y", "extra": 1}]

    reply = await client.post("/rm", json={"prompt": prompt, "response": "s=5 h=2"})

    assert reply.json() == 2.0


async def test_with_detail_there_are_keys_to_choose_from(client):
    reply = await client.post("/rm?detail=1", json={"prompt": "p", "response": "s=5 h=2"})

    found = reply.json()
    assert (found["reward"], found["helpfulness_reward"], found["safety_reward"]) == (2.0, 2.0, 5.0)
    assert 0.0 < found["score"] < 1.0
    assert all(isinstance(value, float) for value in found.values())


async def test_an_empty_response_does_not_end_the_run(client):
    assert (await client.post("/rm", json={"prompt": "p", "response": ""})).json() == 0.0


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"prompt": "p"}, "/response"),
        ({"prompt": [{"role": "user", "content": 3}], "response": "r"}, "/prompt/0/content"),
        ({"prompt": None, "response": "r"}, "/prompt"),
    ],
)
async def test_what_is_wrong_is_pointed_at(client, body, pointer):
    reply = await client.post("/rm", json=body)

    assert reply.status_code == 422
    assert reply.json()["errors"][0]["pointer"] == pointer
