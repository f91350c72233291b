"""KServe v2 with the tensors of NeMo-Aligner's reward server (reward_server.py)."""

import pytest

from tests.service.dialects.test_wrong_bodies import INFER, tensor


async def test_health_follows_the_services_own(start):
    async with start() as service:
        paths = ("/v2/health/live", "/v2/health/ready", "/v2/models/reward_model/ready")
        before = [(await service.client.get(path)).status_code for path in paths]
        service.state.draining = True
        after = [(await service.client.get(path)).status_code for path in paths]

    assert before == [200, 200, 200]
    assert after == [200, 503, 503]


@pytest.mark.parametrize(
    ("shape", "data"),
    [([2], ["s=5 h=1", "s=5 h=2"]), ([2, 1], [["s=5 h=1"], ["s=5 h=2"]])],
)
async def test_sentences_flat_or_nested_give_a_column_of_rewards(client, shape, data):
    body = {"id": "7", "inputs": [tensor("sentences", shape, data)]}

    reply = await client.post(INFER, json=body)

    assert reply.json() == {
        "model_name": "reward_model",
        "model_version": "1",
        "id": "7",
        "outputs": [{"name": "rewards", "datatype": "FP32", "shape": [2, 1], "data": [1.0, 2.0]}],
    }


async def test_prompts_and_responses_are_dialogues(client):
    body = {"inputs": [tensor("prompts", [1], ["p"]), tensor("responses", [1], ["s=5 h=6"])]}

    assert (await client.post(INFER, json=body)).json()["outputs"][0]["data"] == [6.0]


async def test_only_our_models_have_names(client):
    body = {"inputs": [tensor("sentences", [1], ["x"])]}

    assert (await client.post("/v2/models/other/infer", json=body)).status_code == 404
    assert (await client.get("/v2/models/other/ready")).status_code == 404
