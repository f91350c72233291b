import math

import pytest

from rm_client.models import CompareReply
from rm_core.types import Dialogue
from tests.fakes import NAN_MARK, fake_reward


async def compare(service, *items, **more):
    return await service.client.post("/compare", json={"items": items, **more})


async def test_winner_ranking_and_probabilities_agree_with_the_rewards(service):
    responses = ["a", "b", "c", "d"]

    reply = await compare(service, {"prompt": "p", "responses": responses})

    assert reply.status_code == 200
    CompareReply.model_validate_json(reply.content, strict=True, extra="forbid")
    (found,) = reply.json()["items"]
    selected = [response["selected_reward"] for response in found["responses"]]
    raw = {
        role: [fake_reward(role, Dialogue("p", r)) for r in responses]
        for role in ("safety", "helpfulness")
    }
    for part, rewards in ((found, selected), *((found[role], raw[role]) for role in raw)):
        order = sorted(range(4), key=lambda i: -rewards[i])
        assert part["ranking"] == order
        assert part["winner"] == order[0]
        assert [part["ranks"][i] for i in order] == [1, 2, 3, 4]
        for i in range(4):
            for j in range(4):
                expected = 1 / (1 + math.exp(rewards[j] - rewards[i]))
                assert part["probabilities"][i][j] == pytest.approx(expected)


async def test_a_response_that_cannot_be_judged_fails_its_item_only(service):
    reply = await compare(
        service,
        {"prompt": "p", "responses": ["a", f"b {NAN_MARK}"]},
        {"prompt": "p", "responses": ["a", "b"]},
        {"prompt": "p", "responses": ["a"]},
    )

    bad, good, few = reply.json()["items"]
    assert bad["error"]["pointer"] == "/items/0/responses/1"
    assert bad["error"]["code"] == "nonfinite_reward"
    assert "winner" in good
    assert few["error"] == {
        "pointer": "/items/2/responses",
        "code": "too_short",
        "detail": few["error"]["detail"],
    }
