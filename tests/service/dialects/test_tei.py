"""Text Embeddings Inference's /predict: what is one input and what several is TEI's own rule."""

import math

import pytest

from rm_core.types import Dialogue, RenderedText

TEXT = RenderedText("s=5 h=1")
PAIR = Dialogue("p", "s=5 h=1", allow_empty=True)


@pytest.mark.parametrize(
    ("inputs", "is_batch", "expected"),
    [
        ("s=5 h=1", False, [TEXT]),
        (["s=5 h=1"], False, [TEXT]),
        (["p", "s=5 h=1"], False, [PAIR]),
        ([["s=5 h=1"]], True, [TEXT]),
        ([["p", "s=5 h=1"], ["s=5 h=1"]], True, [PAIR, TEXT]),
        ([], True, []),
    ],
)
async def test_inputs_are_read_as_tei_reads_them(client, scorer, inputs, is_batch, expected):
    reply = (await client.post("/predict", json={"inputs": inputs, "raw_scores": True})).json()

    label = [{"score": 1.0, "label": "LABEL_0"}]
    assert reply == ([label] * len(expected) if is_batch else label)
    assert [text for text, _ in scorer.asked] == expected


async def test_a_score_is_given_unless_the_reward_is_asked_for(client):
    reply = (await client.post("/predict", json={"inputs": "s=5 h=2"})).json()

    assert reply[0]["score"] == pytest.approx(1 / (1 + math.exp(-2)))
