"""LLaMA-Factory's client knows no timeout, no retry and no error (train/ppo/ppo_utils.py)."""

from tests.service.scripted import serving

PATH = "/v1/score/evaluation"


async def test_no_messages_are_no_scores(client):
    assert (await client.post(PATH, json={"messages": []})).json()["scores"] == []


async def test_more_messages_than_one_request_may_hold_are_judged_in_parts(tmp_path):
    async with serving(tmp_path, max_items=3, max_queue_items=4, max_request_tokens=64) as client:
        texts = [f"s=5 h={i} {'x' * i}" for i in range(20)]
        reply = await client.post(PATH, json={"messages": texts})

    assert reply.json()["scores"] == [float(i) for i in range(20)]


async def test_max_length_is_handed_to_the_tokenizer(client, scorer):
    await client.post(PATH, json={"messages": ["s=5 h=1"], "max_length": 7})

    assert [text.max_tokens for text, _ in scorer.asked] == [7]
