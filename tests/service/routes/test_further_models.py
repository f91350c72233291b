"""Models beside safety and helpfulness: what replies say of them, and what needs the two."""

import json

import pytest

from rm_client.models import ComparisonReply, GroupReply, ResponseReply
from rm_client.models_ppo import PpoItemReply
from rm_core.types import Dialogue
from tests.fakes import FakeScorer, fake_reward

TWO = ("safety", "helpfulness")
FURTHER = ("brief", "kind")
ITEM = {"prompt": "p", "response": "a b c"}
GROUP = {"prompt": "p", "responses": ["a b", "c", "a b"]}
PPO = {"items": [ITEM], "whiten": {"mode": "none"}}


def reward(name: str, response: str = ITEM["response"]) -> float:
    return fake_reward(name, Dialogue("p", response))


async def test_their_rewards_stand_by_name_and_nothing_else_changes(start):
    async with start(FakeScorer(TWO)) as service:
        plain = {path: await service.client.post(path, json=body) for path, body in BODIES.items()}
    async with start(FakeScorer((*TWO, *FURTHER))) as service:
        more = {path: await service.client.post(path, json=body) for path, body in BODIES.items()}
        provenance = more["/score"].headers["X-Rewardd-Provenance"]
        info = (await service.client.get("/v1/info")).json()
        series = await service.metric("rm_reward_raw_count", model="kind")
        selected = service.state.metrics.registry.get_sample_value(
            "rm_selection_total", {"route": "/score", "branch": "kind"}
        )

    score = more["/score"].json()
    assert list(score) == [*TWO, "rewards", "selected", "selected_reward", "num_tokens", "warnings"]
    assert {name: own["reward"] for name, own in score["rewards"].items()} == {
        name: reward(name) for name in FURTHER
    }
    assert set(more["/compare"].json()["rewards"]) == set(FURTHER)
    assert more["/compare"].json()["rewards"]["kind"]["winner"] == (
        0 if reward("kind", "a b") > reward("kind", "c") else 1
    )
    for path in BODIES:
        assert without_further(more[path].json()) == without_further(plain[path].json())
    assert [part.split("=")[0] for part in provenance.split(", ")] == [*TWO, *FURTHER]
    assert list(info["models"]) == [*TWO, *FURTHER]
    assert series >= 1
    assert selected is None  # never selected
    parsed = ResponseReply.model_validate(score)
    assert parsed.rewards["kind"].reward == reward("kind")
    assert parsed.selected_reward == score["selected_reward"]
    compared = ComparisonReply.model_validate(more["/compare"].json())
    assert compared.rewards["brief"].ranks
    (item,) = more["/ppo_reward"].json()["items"]
    assert PpoItemReply.model_validate(item).rewards["brief"].reward == reward("brief")


BODIES = {
    "/score": ITEM,
    "/compare": {"prompt": "p", "responses": ["a b", "c"]},
    "/ppo_reward": PPO,
}


def without_further(value):
    if isinstance(value, dict):
        further = ("rewards", "provenance")
        return {key: without_further(own) for key, own in value.items() if key not in further}
    return [without_further(own) for own in value] if isinstance(value, list) else value


async def test_their_tokens_and_steps_stand_with_them(start):
    async with start(FakeScorer((*TWO, *FURTHER))) as service:
        tokens = (await service.client.post("/score", json={**ITEM, "detail": "tokens"})).json()
        steps = (
            await service.client.post("/score", json={"prompt": "p", "steps": ["a ", "b c"]})
        ).json()

    assert tokens["rewards"]["kind"]["tokens"]["rewards"][-1] == reward("kind")
    assert len(tokens["safety"]["tokens"]["rewards"]) == 3
    assert len(steps["rewards"]["brief"]["steps"]["scores"]) == 2


async def test_ndjson_says_them_too(start):
    async with start(FakeScorer((*TWO, *FURTHER))) as service:
        reply = await service.client.post(
            "/score",
            content=json.dumps(ITEM) + "\n",
            headers={"Content-Type": "application/x-ndjson"},
        )

    assert set(json.loads(reply.text)["rewards"]) == set(FURTHER)


async def test_dialects_know_them_by_address_and_by_the_bodys_model(start):
    texts = {"input": ["p a"], "use_activation": False}
    async with start(FakeScorer((*TWO, "brief")), models="brief=x") as service:
        ask = service.client.post
        by_address = await ask("/classify?reward=brief", json=texts)
        raw = await ask("/classify?reward=raw_brief", json=texts)
        by_body = await ask("/classify", json={**texts, "model": "brief"})
        detail = await ask("/get_reward?reward=brief", json={"query": ["p a"]})
        unknown = await ask("/classify?reward=kind", json=texts)
        verified = await ask("/verify?reward=brief", json=NEMO)
        listed = (await service.client.get("/v1/models")).json()["data"]
        document = (await service.client.get("/openapi.json")).json()

    wanted = fake_reward("brief", Dialogue("", "p a"))
    for reply in (by_address, raw, by_body):
        assert reply.json()["data"][0]["probs"] == [wanted]
    assert by_body.json()["model"] == "brief"
    assert detail.json()["rewards"] == [wanted]
    assert detail.json()["extra_logs"]["brief_reward"] == [wanted]
    assert (unknown.status_code, unknown.json()["code"]) == (422, "invalid_parameter")
    assert "brief, raw_brief" in unknown.json()["detail"]
    assert verified.json()["reward_components"] == {"brief": verified.json()["reward"]}
    assert [card["id"] for card in listed] == ["rewardd", *TWO, "brief"]
    reward_parameter = document["paths"]["/classify"]["post"]["parameters"][0]
    assert reward_parameter["schema"]["enum"][-2:] == ["brief", "raw_brief"]


NEMO = {
    "responses_create_params": {"input": [{"role": "user", "content": "p"}]},
    "response": {
        "output": [
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "a"}],
            }
        ]
    },
}


async def test_without_the_two_only_what_needs_a_selection_is_refused(start):
    async with start(FakeScorer(FURTHER)) as service:
        ask = service.client.post
        score = (await ask("/score", json=ITEM)).json()
        group = (await ask("/score", json=GROUP)).json()
        compared = (await ask("/compare", json=BODIES["/compare"])).json()
        ppo = await ask("/ppo_reward", json=PPO)
        default = await ask("/get_reward", json={"query": ["p a"]})
        whitened = await ask("/get_reward?reward=whitened", json={"query": ["p a"]})
        named = await ask("/get_reward?reward=kind", json={"query": ["p a"]})
        info = (await service.client.get("/v1/info")).json()

    assert list(score) == ["rewards", "num_tokens", "warnings"]
    assert ResponseReply.model_validate(score).selected is None
    with pytest.raises(ValueError, match="doesn't hold it"):
        _ = ResponseReply.model_validate(score).selected_score
    assert group["advantages"] == [None] * 3
    assert (group["mean"], group["degenerate"], group["duplicates"]) == (None, None, [2])
    assert GroupReply.model_validate(group).num_duplicates == 1
    assert list(compared) == ["rewards", "responses"]
    assert ComparisonReply.model_validate(compared).rewards["kind"].ranking
    for refused in (ppo, default, whitened):
        assert (refused.status_code, refused.json()["code"]) == (422, "nothing_selected")
        assert "brief, kind" in refused.json()["detail"]
    assert named.json()["rewards"] == [fake_reward("kind", Dialogue("", "p a"))]
    assert info["selection"]["rule"].startswith("nothing is selected")
