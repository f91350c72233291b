"""One text gets one number, whichever dialect asks, and it is transformers' own."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from rm_core.engine import load_engine
from tests.models import make_tokenizer, save_checkpoint
from tests.service.dialects.bodies import TONGUES
from tests.service.scripted import serving

PROMPT, RESPONSE = "Is 27 prime?", "No: 27 = 3 × 9."
RENDERED = f"<s><user>{PROMPT}</s><assistant>{RESPONSE}</s>"
MESSAGES = [{"role": "user", "content": PROMPT}]


@pytest.fixture
async def client(checkpoint: Path, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    engine = load_engine({"helpfulness": str(checkpoint)}, device="cpu")
    async with serving(tmp_path, engine) as client:
        yield client


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("rm")
    return save_checkpoint(where, tokenizer=make_tokenizer(chat=True, add_bos=True))


def reward_of(checkpoint: Path, text: str) -> float:
    return reward_of_ids(checkpoint, make_tokenizer()(text, add_special_tokens=False).input_ids)


def reward_of_ids(checkpoint: Path, ids: list[int]) -> float:
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    with torch.no_grad():
        return float(model(torch.tensor([ids])).logits.item())


async def test_a_rendered_text_gets_the_same_number_from_every_dialect(
    checkpoint: Path, client: httpx.AsyncClient
) -> None:
    expected = reward_of(checkpoint, RENDERED)
    found = {}

    for tongue in TONGUES:
        # veRL and the SGLang recipes strip BOS; chats are rendered here.
        for text in (RENDERED, RENDERED.removeprefix("<s>")):
            if tongue.put_prompt is not None:
                text = RESPONSE  # noqa: PLW2901
                body = tongue.body(text)
                tongue.put_prompt(body, MESSAGES)
            else:
                body = tongue.body(text)
            reply = await client.post(tongue.path, json=body)
            assert reply.status_code == 200, (tongue.name, reply.text)
            found[tongue.name, text] = tongue.read(reply.json())

    chats = sum(tongue.put_prompt is not None for tongue in TONGUES)
    assert len(found) == 2 * len(TONGUES) - chats
    assert found == pytest.approx(dict.fromkeys(found, expected), abs=1e-5)


async def test_a_dialogue_gets_the_number_of_its_rendering(
    checkpoint: Path, client: httpx.AsyncClient
) -> None:
    expected = reward_of(checkpoint, RENDERED)
    asked: list[tuple[str, Any, Any]] = [
        ("/score", {"prompt": PROMPT, "response": RESPONSE}, lambda r: r["selected_reward"]),
        ("/rm", {"prompt": PROMPT, "response": RESPONSE}, float),
        ("/rm", {"prompt": MESSAGES, "response": RESPONSE + "</s>"}, float),
        (
            "/get_reward",
            {"prompts": [PROMPT], "responses": [RESPONSE + "</s>"]},
            lambda r: r["rewards"][0],
        ),
        (
            "/v1/score",
            {"queries": PROMPT, "documents": [RESPONSE], "use_activation": False},
            lambda r: r["data"][0]["score"],
        ),
        ("/predict", {"inputs": [PROMPT, RESPONSE], "raw_scores": True}, lambda r: r[0]["score"]),
        (
            "/classify",
            {
                "messages": [*MESSAGES, {"role": "assistant", "content": RESPONSE}],
                "use_activation": False,
            },
            lambda r: r["data"][0]["probs"][0],
        ),
    ]

    found = [read((await client.post(path, json=body)).json()) for path, body, read in asked]

    assert found == pytest.approx([expected] * len(asked), abs=1e-5)


async def test_ids_get_the_number_of_their_text(
    checkpoint: Path, client: httpx.AsyncClient
) -> None:
    ids = make_tokenizer()(RENDERED, add_special_tokens=False).input_ids
    padded = {
        "inputs": [
            {
                "name": "tokens",
                "shape": [1, len(ids) + 2],
                "datatype": "INT64",
                "data": [*ids, 0, 0],
            },
            {"name": "sequence_lengths", "shape": [1, 1], "datatype": "INT64", "data": [len(ids)]},
        ]
    }

    sglang = (await client.post("/classify", json={"input_ids": ids})).json()
    kserve = (await client.post("/v2/models/rewardd/infer", json=padded)).json()

    found = [sglang["embedding"][0], kserve["outputs"][0]["data"][0]]
    assert found == pytest.approx([reward_of(checkpoint, RENDERED)] * 2, abs=1e-5)


async def test_a_text_that_is_too_long_loses_its_left_and_says_so(
    checkpoint: Path, client: httpx.AsyncClient
) -> None:
    text = "<s><user>" + "p" * 2000 + "</s><assistant>" + RESPONSE + "</s>"

    reply = (await client.post("/get_reward", json={"query": [text]})).json()

    logs = reply["extra_logs"]
    assert (logs["truncated"], logs["missing_eos"]) == ([1.0], [0.0])
    kept = int(logs["num_tokens"][0]) - 1
    tokens = make_tokenizer()(text, add_special_tokens=False).input_ids
    cut = "<s>" + make_tokenizer().decode(tokens[-kept:])
    assert reply["rewards"] == pytest.approx([reward_of(checkpoint, cut)], abs=1e-5)


APART: dict[str, Callable[[str, str], Any]] = {
    "align_anything": lambda p, r: {"prompts": [p], "responses": [r]},
    "slime": lambda p, r: {"prompt": p, "response": r},
    "slime with detail": lambda p, r: {"prompt": p, "response": r},
    "rerank": lambda p, r: {"query": p, "documents": [r], "use_activation": False},
    "vLLM's score": lambda p, r: {"text_1": p, "text_2": [r], "use_activation": False},
    "paddlenlp": lambda p, r: {"src": [p], "response": [r]},
}
"""Bodies with a rendered prompt and its response apart, by the dialect's name."""


async def test_every_dialect_cuts_a_response_that_is_too_long_to_the_texts_tail(
    checkpoint: Path, client: httpx.AsyncClient
) -> None:
    """What is read is BOS and the last tokens of the text, as transformers reads them."""
    long = "abcdefghij" * 300
    text = f"<s><user>{PROMPT}</s><assistant>{long}</s>"
    limit = (await client.get("/v1/info")).json()["models"]["helpfulness"]["max_length"]
    tokens = make_tokenizer()(text, add_special_tokens=False).input_ids
    tail = reward_of_ids(checkpoint, [tokens[0], *tokens[1 - limit :]])
    head = len(text) - len(long) - len("</s>")
    found, told = {}, {}

    for tongue in TONGUES:
        body = tongue.body(text)
        if tongue.put_prompt is not None:
            body = tongue.body(long)
            tongue.put_prompt(body, MESSAGES)
        elif tongue.name in APART:
            body = APART[tongue.name](text[:head], text[head:])
        reply = await client.post(tongue.path, json=body)
        assert reply.status_code == 200, (tongue.name, reply.text)
        found[tongue.name] = tongue.read(reply.json())
        told[tongue.name] = reply.headers["X-Rewardd-Warnings"]
    query = {"query": [text], "prompts": [text[:head]]}
    found["prompt"] = (await client.post("/get_reward", json=query)).json()["rewards"][0]
    dialogue = {"prompt": PROMPT, "response": long}
    found["dialogue"] = (await client.post("/rm", json=dialogue)).json()

    assert found == pytest.approx(dict.fromkeys(found, tail), abs=1e-5)
    assert len(tokens) > limit
    assert told == {
        tongue.name: "truncated;count=1"
        + (
            ", response_truncated;count=1"
            if tongue.name in APART or tongue.put_prompt is not None
            else ""
        )
        for tongue in TONGUES
    }
