"""vLLM's routes as veRL calls them (reward_loop.py): data[-1].probs[-1], data[-1].embedding[-1]."""

import base64
import math
import struct

import pytest

from rm_core.types import Dialogue, Message, RenderedText, TokenIds


@pytest.mark.parametrize(
    ("given", "activated"),
    [
        ({}, True),
        ({"use_activation": True}, True),
        ({"activation": False}, False),
        ({"softmax": False}, False),
        ({"use_activation": False, "activation": True}, False),
        ({"activation": True, "softmax": False}, True),
    ],
)
async def test_the_newest_name_of_the_activation_decides(client, given, activated):
    reply = await client.post("/classify", json={"input": "s=5 h=2", **given})

    (value,) = reply.json()["data"][0]["probs"]
    assert value == (pytest.approx(1.0 / (1.0 + math.exp(-2.0))) if activated else 2.0)


async def test_texts_are_read_as_rendered_and_never_refused_for_their_length(client, scorer):
    await client.post(
        "/classify", json={"input": ["a"], "priority": 3, "truncate_prompt_tokens": -1}
    )
    await client.post("/classify", json={"input": "b", "truncate_prompt_tokens": 9})
    await client.post("/classify", json={"input": "c", "add_special_tokens": False})
    await client.post("/classify", json={"input": "d", "add_special_tokens": True})

    assert scorer.asked == [
        (RenderedText("a"), "prompt"),
        (RenderedText("b", max_tokens=9), "prompt"),
        (RenderedText("c", add_special_tokens=False), "prompt"),
        (RenderedText("d"), "prompt"),
    ]


async def test_token_ids_alone_and_in_rows(client, scorer):
    alone = await client.post("/classify", json={"input": [49, 50]})
    rows = await client.post("/classify", json={"input": [[49], [50, 51]]})

    assert [len(reply.json()["data"]) for reply in (alone, rows)] == [1, 2]
    assert [text for text, _ in scorer.asked] == [
        TokenIds((49, 50)),
        TokenIds((49,)),
        TokenIds((50, 51)),
    ]


async def test_messages_are_one_chat(client, scorer):
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "s=5 h=3"},
    ]

    reply = await client.post("/classify", json={"messages": messages, "use_activation": False})

    assert reply.json()["data"][0]["probs"] == [3.0]
    assert scorer.asked[0][0] == Dialogue((Message("user", "ab"),), "s=5 h=3", allow_empty=True)


async def test_openais_client_gets_its_base64(client):
    reply = await client.post(
        "/v1/embeddings", json={"input": "s=5 h=1.5", "encoding_format": "base64"}
    )

    assert struct.unpack("<f", base64.b64decode(reply.json()["data"][0]["embedding"])) == (1.5,)


@pytest.mark.parametrize(
    ("given", "activated"),
    [
        ({}, False),
        ({"task": None}, False),
        ({"task": "reward"}, False),
        ({"task": "classify"}, True),
        ({"task": "score"}, True),
        ({"task": "classify", "use_activation": False}, False),
        ({"use_activation": True}, True),
    ],
)
async def test_a_pooled_task_says_whether_a_score_is_wanted(client, given, activated):
    reply = await client.post("/pooling", json={"input": "s=5 h=2", **given})

    (value,) = reply.json()["data"][0]["data"]
    assert value == (pytest.approx(1.0 / (1.0 + math.exp(-2.0))) if activated else 2.0)


async def test_one_number_a_token_is_refused_by_its_name(client):
    reply = await client.post("/pooling", json={"input": "s=5 h=2", "task": "token_classify"})

    assert reply.status_code == 422
    assert '"detail": "tokens"' in reply.json()["detail"]
