"""vLLM's routes as veRL calls them (reward_loop.py): data[-1].probs[-1], data[-1].embedding[-1]."""

import base64
import math
import struct

import pytest

from rm_core.types import Dialogue, Message, RenderedText, TokenIds
from tests.service.scripted import ScriptedScorer, serving

PATHS = {"/classify": "probs", "/pooling": "data", "/v1/embeddings": "embedding"}


@pytest.fixture
async def watched(tmp_path):
    """A client, and what the scorer was asked to encode."""
    seen = []

    class Watching(ScriptedScorer):
        def encode(self, dialogue, *, truncate="error"):
            seen.append((dialogue, truncate))
            return super().encode(dialogue, truncate=truncate)

    async with serving(tmp_path, Watching()) as client:
        yield client, seen


@pytest.mark.parametrize(("path", "field"), PATHS.items())
async def test_a_list_gets_one_entry_each(client, path, field):
    body = {"model": "m", "input": ["s=5 h=1", "s=5 h=2"], "use_activation": False}

    reply = (await client.post(path, json=body)).json()

    assert reply["object"] == "list"
    assert [entry["index"] for entry in reply["data"]] == [0, 1]
    assert [entry[field] for entry in reply["data"]] == [[1.0], [2.0]]
    assert reply["usage"] == {"prompt_tokens": 14, "completion_tokens": 0, "total_tokens": 14}


async def test_verl_reads_the_reward_at_its_place(client):
    body = {"model": "m", "input": "s=5 h=-1.25", "use_activation": False}

    classified = (await client.post("/classify", json=body)).json()
    embedded = (
        await client.post("/v1/embeddings", json={"model": "m", "input": "s=5 h=-1"})
    ).json()

    assert classified["data"][-1] == {
        "index": 0,
        "label": "LABEL_0",
        "probs": [-1.25],
        "num_classes": 1,
    }
    assert embedded["data"][-1]["embedding"][-1] == -1.0


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


async def test_pooling_activates_only_if_told_to(client):
    reply = await client.post("/pooling", json={"input": "s=5 h=2", "activation": True})

    assert reply.json()["data"][0]["data"] == [pytest.approx(1.0 / (1.0 + math.exp(-2.0)))]


async def test_openais_client_gets_its_base64(client):
    reply = await client.post(
        "/v1/embeddings", json={"input": "s=5 h=1.5", "encoding_format": "base64"}
    )

    assert struct.unpack("<f", base64.b64decode(reply.json()["data"][0]["embedding"])) == (1.5,)


async def test_texts_are_read_as_rendered_and_never_refused_for_their_length(watched):
    client, seen = watched

    await client.post(
        "/classify", json={"input": ["a"], "priority": 3, "truncate_prompt_tokens": -1}
    )
    await client.post("/classify", json={"input": "b", "truncate_prompt_tokens": 9})
    await client.post("/classify", json={"input": "c", "add_special_tokens": False})
    await client.post("/classify", json={"input": "d", "add_special_tokens": True})

    assert seen == [
        (RenderedText("a"), "prompt"),
        (RenderedText("b", max_tokens=9), "prompt"),
        (RenderedText("c", add_special_tokens=False), "prompt"),
        (RenderedText("d"), "prompt"),
    ]


async def test_token_ids_alone_and_in_rows(watched):
    client, seen = watched

    alone = await client.post("/classify", json={"input": [49, 50]})
    rows = await client.post("/classify", json={"input": [[49], [50, 51]]})

    assert [len(reply.json()["data"]) for reply in (alone, rows)] == [1, 2]
    assert [text for text, _ in seen] == [
        TokenIds((49, 50)),
        TokenIds((49,)),
        TokenIds((50, 51)),
    ]


async def test_messages_are_one_chat(watched):
    client, seen = watched
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "s=5 h=3"},
    ]

    reply = await client.post("/classify", json={"messages": messages, "use_activation": False})

    assert reply.json()["data"][0]["probs"] == [3.0]
    assert seen[0][0] == Dialogue((Message("user", "ab"),), "s=5 h=3", allow_empty=True)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/input"),
        ({"input": 3}, "/input"),
        ({"input": ["ok", 3]}, "/input/1"),
        ({"input": [1, "x"]}, "/input"),
        ({"input": "x", "truncate_prompt_tokens": 0}, "/truncate_prompt_tokens"),
        ({"input": "x", "use_activation": "no"}, "/use_activation"),
        ({"messages": [{"role": "user", "content": "x"}]}, "/messages"),
    ],
)
async def test_what_is_wrong_is_pointed_at(client, body, pointer):
    reply = await client.post("/classify", json=body)

    assert reply.status_code == 422
    assert reply.json()["errors"][0]["pointer"] == pointer
