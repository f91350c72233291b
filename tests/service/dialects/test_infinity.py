"""infinity_client's /classify, told from vLLM's by `raw_scores`, which it always sends."""

import math

import pytest

from tests.service.scripted import serving


@pytest.mark.parametrize("raw", [True, False])
async def test_each_text_has_a_list_of_labels(client, raw):
    body = {"model": "default/not-specified", "input": ["s=5 h=2", "s=5 h=-1"], "raw_scores": raw}

    reply = (await client.post("/classify", json=body)).json()

    found = [labels[0]["score"] for labels in reply["data"]]
    sigmoid = [1 / (1 + math.exp(-2)), 1 / (1 + math.exp(1))]
    assert found == ([2.0, -1.0] if raw else pytest.approx(sigmoid))
    assert [labels[0]["label"] for labels in reply["data"]] == ["LABEL_0"] * 2
    assert reply["object"] == "classify"
    assert set(reply["usage"]) >= {"prompt_tokens", "total_tokens"}


async def test_switched_off_it_is_not_answered_in_vllms_shape(tmp_path):
    async with serving(tmp_path, disabled_dialects=("infinity",)) as client:
        reply = await client.post("/classify", json={"input": ["x"], "raw_scores": False})

    assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (422, "/raw_scores")


async def test_its_models_are_those_of_v1_models(client):
    own = (await client.get("/models")).json()["data"]
    openai = (await client.get("/v1/models")).json()["data"]

    assert [card["id"] for card in own] == [card["id"] for card in openai]
    assert all(card["stats"] == {} for card in own)
