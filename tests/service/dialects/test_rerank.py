"""Rerankers' contracts: the query is a prompt, the documents are responses to it."""

import math

import pytest

from rm_core.types import Dialogue

DOCUMENTS = ["s=5 h=-1", "s=5 h=2", "s=5 h=0.5"]


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank"])
async def test_responses_come_back_best_first(client, scorer, path):
    reply = (await client.post(path, json={"query": "q", "documents": DOCUMENTS})).json()

    assert [(one["index"], one["document"]["text"]) for one in reply["results"]] == [
        (1, DOCUMENTS[1]),
        (2, DOCUMENTS[2]),
        (0, DOCUMENTS[0]),
    ]
    found = [one["relevance_score"] for one in reply["results"]]
    assert found == pytest.approx([sigmoid(2), sigmoid(0.5), sigmoid(-1)])
    assert [text for text, _ in scorer.asked] == [
        Dialogue("q", document, allow_empty=True) for document in DOCUMENTS
    ]


async def test_so_many_come_back_as_are_asked_for_and_as_rewards_where_wanted(client):
    body = {"query": "q", "documents": DOCUMENTS, "top_n": 2, "use_activation": False}

    results = (await client.post("/rerank", json=body)).json()["results"]

    assert [one["relevance_score"] for one in results] == [2.0, 0.5]


async def test_scores_that_saturate_keep_their_order(client):
    documents = ["s=5 h=50", "s=5 h=90", "s=5 h=70"]

    reply = await client.post("/rerank", json={"query": "q", "documents": documents})

    assert [one["index"] for one in reply.json()["results"]] == [1, 2, 0]


async def test_infinitys_client_has_its_own_words(client):
    body = {"query": "q", "documents": DOCUMENTS[:1], "raw_scores": True}

    without = (await client.post("/rerank", json=body)).json()["results"]
    texts = (await client.post("/rerank", json={**body, "return_documents": True})).json()

    assert without == [{"index": 0, "relevance_score": -1.0}]
    assert texts["results"][0]["document"] == DOCUMENTS[0]


@pytest.mark.parametrize(
    ("queries", "documents", "expected"),
    [
        ("p", "s=5 h=1", [("p", "s=5 h=1")]),
        ("p", ["a", "b"], [("p", "a"), ("p", "b")]),
        (["p"], ["a", {"text": "b"}], [("p", "a"), ("p", "b")]),
        (["p", "q"], ["a", "b"], [("p", "a"), ("q", "b")]),
    ],
)
async def test_pairs_are_one_to_many_or_one_to_one(client, scorer, queries, documents, expected):
    for keys in (("queries", "documents"), ("queries", "items"), ("text_1", "text_2")):
        scorer.asked.clear()
        body = dict(zip(keys, (queries, documents), strict=True))
        reply = (await client.post("/v1/score", json=body)).json()

        assert [one["index"] for one in reply["data"]] == list(range(len(expected)))
        assert [text for text, _ in scorer.asked] == [
            Dialogue(prompt, response, allow_empty=True) for prompt, response in expected
        ]


async def test_a_rendered_query_is_not_rendered_again(client, scorer):
    await client.post("/v1/score?rendered=1", json={"queries": "<u>q", "documents": "s=5 h=1"})

    expected = Dialogue("<u>q", "s=5 h=1", allow_empty=True, rendered=True)
    assert [text for text, _ in scorer.asked] == [expected]
