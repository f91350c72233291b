"""align-anything's key set on the path that OpenRLHF uses too."""

import pytest


async def test_pairs_get_their_rewards_and_nothing_else(client):
    reply = await client.post(
        "/get_reward", json={"prompts": ["a", "b"], "responses": ["s=5 h=1", "s=5 h=2"]}
    )

    assert reply.json() == {"rewards": [1.0, 2.0]}


async def test_an_empty_response_is_judged_like_any_other(client):
    reply = await client.post("/get_reward", json={"prompts": ["a"], "responses": [""]})

    assert reply.json() == {"rewards": [0.0]}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"prompts": ["a"], "responses": []}, "/responses"),
        ({"prompts": [1], "responses": ["x"]}, "/prompts/0"),
        ({"prompts": ["a"], "responses": [None]}, "/responses/0"),
        ({"responses": ["x"]}, "/prompts"),
    ],
)
async def test_what_does_not_pair_up_is_pointed_at(client, body, pointer):
    reply = await client.post("/get_reward", json=body)

    assert reply.status_code == 422
    assert reply.json()["errors"][0]["pointer"] == pointer
