"""PaddleNLP's reward client: any failure is a zero to it, so that what can wait waits."""

import asyncio

from rm_core.types import Dialogue
from tests.fakes import FakeScorer


async def test_prompts_are_rendered_already(client, scorer):
    body = {"src": ["<s>p", ""], "tgt": ["", ""], "response": ["s=5 h=1</s>", "s=5 h=2"]}

    reply = (await client.post("/", json=body)).json()

    assert reply == {"error_code": 0, "error_msg": "Success", "score": [1.0, 2.0]}
    assert [text for text, _ in scorer.asked] == [
        Dialogue("<s>p", "s=5 h=1</s>", allow_empty=True, rendered=True),
        Dialogue("", "s=5 h=2", allow_empty=True, rendered=True),
    ]


async def test_a_refusal_has_an_error_code_and_no_score(client):
    reply = await client.post("/", json={"src": ["p "], "tgt": [""], "response": ["h=nan"]})

    said = reply.json()
    assert reply.status_code == said["error_code"] == 422
    assert said["error_msg"] == said["detail"]
    assert "score" not in said


async def test_it_waits_for_room(start):
    async with start(FakeScorer(), max_items=1, max_queue_items=1) as service:
        async with service.holding():
            body = {"src": ["a", "b"], "response": ["x", "y"]}
            waiting = asyncio.create_task(service.client.post("/", json=body))
            done, _ = await asyncio.wait([waiting], timeout=0.3)
            assert not done
        reply = await waiting

    assert reply.status_code == 200
    assert len(reply.json()["score"]) == 2
