"""SGLang's key set on /classify, as the recipes of published reward models use it."""

import pytest


async def test_a_list_of_texts_gets_a_list_of_vectors(client):
    body = {"model": "m", "text": ["s=5 h=1", "s=5 h=-2"], "rid": ["a", "b"]}

    reply = await client.post("/classify", json=body)

    assert reply.json() == [
        {"embedding": [1.0], "meta_info": {"prompt_tokens": 7, "id": "a"}},
        {"embedding": [-2.0], "meta_info": {"prompt_tokens": 8, "id": "b"}},
    ]


async def test_one_text_gets_one_vector(client):
    reply = await client.post("/classify", json={"text": "s=5 h=1", "rid": "a"})

    assert reply.json()["embedding"] == [1.0]
    assert reply.json()["meta_info"]["id"] == "a"


@pytest.mark.parametrize(("ids", "alone"), [([1, 2], True), ([[1, 2], [3]], False)])
async def test_ids_stand_alone_or_in_rows(client, ids, alone):
    reply = await client.post("/classify", json={"input_ids": ids})

    assert isinstance(reply.json(), dict if alone else list)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"text": None}, "/text"),
        ({"text": ["a", 1]}, "/text/1"),
        ({"text": ["a"], "rid": []}, "/rid"),
        ({"input_ids": [[1.5]]}, "/input_ids/0"),
    ],
)
async def test_what_is_wrong_is_pointed_at(client, body, pointer):
    reply = await client.post("/classify", json=body)

    assert reply.status_code == 422
    assert reply.json()["errors"][0]["pointer"] == pointer
