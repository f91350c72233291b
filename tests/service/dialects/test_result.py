"""Which number is returned, and what the stream of a whitened one has seen."""

import math
from dataclasses import replace

import pytest

from rm_core.errors import ConfigurationError, NoChatTemplate
from service.app import create_app
from service.settings import Settings
from tests.service.scripted import ScriptedScorer, as_dialogue, serving

BODY = {"query": ["s=-4 h=2", "s=5 h=3"]}


@pytest.mark.parametrize(
    ("reward", "expected"),
    [("selected", [-4.0, 3.0]), ("helpfulness", [2.0, 3.0]), ("safety", [-4.0, 5.0])],
)
async def test_the_setting_and_the_address_choose_the_number(tmp_path, reward, expected):
    async with serving(tmp_path, dialect_reward=reward) as client:
        by_setting = (await client.post("/get_reward", json=BODY)).json()
    async with serving(tmp_path) as client:
        by_address = (await client.post(f"/get_reward?reward={reward}", json=BODY)).json()

    assert by_setting == by_address
    assert by_setting["rewards"] == expected
    assert by_setting["scores"] == pytest.approx([1 / (1 + math.exp(-x)) for x in expected])


@pytest.mark.parametrize(
    ("reward", "calibrated", "raw"),
    [
        ("selected", [-2.5, 2.5], [-6.0, 3.0]),
        ("helpfulness", [2.0, 2.5], [2.0, 3.0]),
        ("safety", [-2.5, 3.0], [-6.0, 5.0]),
    ],
)
async def test_raw_is_the_models_own_number_and_its_score_the_calibrated_ones(
    tmp_path, reward, calibrated, raw
):
    scorer, body = Calibrated(), {"query": ["s=-6 h=2", "s=5 h=3"]}
    async with serving(tmp_path, scorer) as client:
        plain = (await client.post(f"/get_reward?reward={reward}", json=body)).json()
        by_address = (await client.post(f"/get_reward?reward=raw_{reward}", json=body)).json()
    async with serving(tmp_path, scorer, dialect_reward=f"raw_{reward}") as client:
        by_setting = (await client.post("/get_reward", json=body)).json()

    assert (plain["rewards"], by_address["rewards"]) == (calibrated, raw)
    assert by_address["scores"] == plain["scores"]
    assert by_setting == by_address


class Calibrated(ScriptedScorer):
    @property
    def profiles(self):
        return {
            name: replace(profile, temperature=2.0, bias={"safety": 0.5, "helpfulness": 1.0}[name])
            for name, profile in super().profiles.items()
        }


async def test_whitened_counts_in_its_stream_and_uses_it(client):
    values = [1.0, 2.0, 4.0]
    texts = [f"s=5 h={value}" for value in values]

    first = await client.post("/get_reward?reward=whitened&stream=run-1", json={"query": texts})
    second = await client.post(
        "/classify?reward=whitened&stream=run-1",
        json={"input": "s=5 h=8", "use_activation": False},
    )

    mean, std = 7 / 3, math.sqrt(7 / 3)
    assert first.json()["rewards"] == pytest.approx([(v - mean) / std for v in values])
    mean = 15 / 4
    std = math.sqrt(sum((v - mean) ** 2 for v in (*values, 8.0)) / 3)
    assert second.json()["data"][0]["probs"] == pytest.approx([(8 - mean) / std])
    stream = (await client.get("/streams/run-1")).json()
    assert (stream["count"], stream["num_samples"]) == (4.0, 4)


async def test_a_frozen_stream_is_used_and_not_changed(client):
    snapshot = {"count": 100, "mean": 1.0, "std": 2.0, "frozen": True}
    await client.put("/streams/held", json=snapshot)

    reply = await client.post(
        "/rm?reward=whitened&stream=held", json={"prompt": "p", "response": "s=5 h=5"}
    )

    assert reply.json() == pytest.approx(2.0)
    assert (await client.get("/streams/held")).json()["count"] == 100.0


async def test_what_could_not_be_judged_never_enters_the_stream(tmp_path):
    async with serving(tmp_path, dialect_fallback_reward=-9.0) as client:
        reply = await client.post(
            "/get_reward?reward=whitened", json={"query": ["s=5 h=1", "h=inf", " ", "s=5 h=2"]}
        )
        stream = (await client.get("/streams/default")).json()

    assert reply.json()["rewards"][1:3] == [-9.0, -9.0]
    assert stream["num_samples"] == 2


class Broken(ScriptedScorer):
    """Its device fails, or it has no template for a chat: no text's fault."""

    def encode(self, dialogue, *, truncate="error"):
        if "chat" in as_dialogue(dialogue).response:
            raise NoChatTemplate("no template", field="response")
        return super().encode(dialogue, truncate=truncate)

    def forward(self, items):
        raise RuntimeError


@pytest.mark.parametrize("reward", ["selected", "whitened"])
@pytest.mark.parametrize(
    ("text", "status", "code"),
    [("s=5 h=1", 500, "engine_error"), ("a chat", 422, "no_chat_template")],
)
async def test_no_fallback_stands_for_a_fault_of_ours(tmp_path, reward, text, status, code):
    async with serving(tmp_path, Broken(), dialect_fallback_reward=-9.0) as client:
        reply = await client.post(f"/get_reward?reward={reward}", json={"query": [text, " "]})

    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert "isn't the texts'" in reply.json()["detail"]


async def test_a_request_that_fails_as_a_whole_counts_nothing(client):
    reply = await client.post(
        "/get_reward?reward=whitened&stream=new", json={"query": ["s=5 h=1", " "]}
    )

    assert reply.status_code == 422
    assert (await client.get("/streams/new")).status_code == 404


@pytest.mark.parametrize("reward", ["safety", "raw_safety"])
async def test_the_reward_of_a_model_that_is_not_loaded_is_refused(tmp_path, reward):
    scorer = ScriptedScorer(model_names=("helpfulness",))
    with pytest.raises(ConfigurationError, match="dialect_reward"):
        create_app(Settings(state_dir=tmp_path, dialect_reward=reward), scorer)

    async with serving(tmp_path, scorer) as client:
        reply = await client.post(f"/rm?reward={reward}", json={"prompt": "p", "response": "h=1"})
    assert reply.status_code == 422
