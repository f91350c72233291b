"""A model's name in a body chooses the reward, where it is one of those that are listed."""

import pytest

from tests.service.scripted import ScriptedScorer, serving


@pytest.mark.parametrize(
    ("query", "model", "reward", "told"),
    [
        ("", "rewardd", -3.0, "rewardd"),
        ("", "/path/of/a/checkpoint", -3.0, "rewardd"),
        ("", "helpfulness", 2.0, "helpfulness"),
        ("", "safety", -3.0, "safety"),
        ("?reward=helpfulness", "safety", 2.0, "safety"),
    ],
)
async def test_a_listed_models_name_chooses_the_reward(client, query, model, reward, told):
    body = {"input": "s=-3 h=2", "model": model, "use_activation": False}

    pooled = (await client.post(f"/pooling{query}", json=body)).json()
    classified = (await client.post(f"/classify{query}", json=body)).json()
    embedded = (await client.post(f"/v1/embeddings{query}", json=body)).json()

    assert pooled["data"][0]["data"] == classified["data"][0]["probs"] == [reward]
    assert embedded["data"][0]["embedding"] == [reward]
    assert pooled["model"] == told


async def test_a_listed_models_name_is_refused_where_it_is_not_loaded(tmp_path):
    async with serving(tmp_path, ScriptedScorer(("helpfulness",))) as client:
        reply = await client.post("/classify", json={"input": "h=2", "model": "safety"})

    assert (reply.status_code, reply.json()["code"]) == (404, "unknown_model")
