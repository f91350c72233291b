"""GET /v1/models."""

from tests.service.scripted import ScriptedScorer, serving


async def test_models_are_listed_as_openais_clients_ask_for_them(service):
    listed = (await service.client.get("/v1/models")).json()
    names = [card["id"] for card in listed["data"]]
    one = (await service.client.get("/v1/models/safety")).json()
    unknown = await service.client.get("/v1/models/gpt")

    assert (listed["object"], names) == ("list", ["rewardd", "safety", "helpfulness"])
    assert (one["id"], one["object"], one["root"]) == ("safety", "model", "fake-safety")
    assert (one["max_model_len"], listed["data"][0]["root"]) == (4096, None)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_model")


async def test_a_single_model_is_the_one_behind_the_first_name(tmp_path):
    async with serving(tmp_path, ScriptedScorer(("helpfulness",))) as client:
        cards = (await client.get("/v1/models")).json()["data"]

    assert [(card["id"], card["root"]) for card in cards] == [
        ("rewardd", "scripted-helpfulness"),
        ("helpfulness", "scripted-helpfulness"),
    ]
