"""Rendered prompts and foreign stop tokens by every route: the number of the plain dialogue."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from rm_core.engine import load_engine
from tests.models import make_tokenizer, save_checkpoint
from tests.service.scripted import serving

PROMPT = "<s><user>Is 27 prime?</s><assistant>"
RESPONSES = ("No: 27 = 3 × 9.", "Yes.")
STOP = {"stop": ["<|im_end|>"]}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("rm")
    return save_checkpoint(where, tokenizer=make_tokenizer(chat=True, add_bos=True))


@pytest.fixture
async def client(checkpoint: Path, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    engine = load_engine({"helpfulness": str(checkpoint)}, device="cpu")
    async with serving(tmp_path, engine) as client:
        yield client


async def post(client: httpx.AsyncClient, path: str, body: Any) -> Any:
    reply = await client.post(path, json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


async def plain_rewards(client: httpx.AsyncClient) -> list[float]:
    body = {"items": [{"prompt": "Is 27 prime?", "response": one} for one in RESPONSES]}
    return [one["selected_reward"] for one in (await post(client, "/score", body))["items"]]


@pytest.mark.parametrize("end", ["</s>", "<|im_end|>\n"])
async def test_every_form_of_item_takes_a_rendered_prompt(
    client: httpx.AsyncClient, end: str
) -> None:
    first, second = await plain_rewards(client)
    rendered = {"prompt": PROMPT, "rendered": True}
    answers = [response + end for response in RESPONSES]

    alone = await post(client, "/score", {**rendered, **STOP, "response": answers[0]})
    steps = await post(client, "/score", {**rendered, **STOP, "steps": ["No: ", answers[0][4:]]})
    group = await post(client, "/score", {**rendered, **STOP, "responses": answers})
    compared = await post(
        client, "/compare", {"items": [{**rendered, "responses": answers}], **STOP}
    )
    shaped = await post(
        client,
        "/ppo_reward",
        {"items": [{**rendered, "response": one} for one in answers], **STOP},
    )

    assert [alone["selected_reward"], steps["selected_reward"]] == pytest.approx([first] * 2)
    both = pytest.approx([first, second], abs=1e-6)
    assert [one["selected_reward"] for one in group["responses"]] == both
    assert [one["selected_reward"] for one in compared["items"][0]["responses"]] == both
    assert [one["logit"] for one in shaped["items"]] == both


async def test_tokens_of_a_rendered_item_are_those_of_the_plain_one(
    client: httpx.AsyncClient,
) -> None:
    response = RESPONSES[0]
    detail = {"detail": "tokens", "step_separator": " "}

    plain = await post(client, "/score", {"prompt": "Is 27 prime?", "response": response, **detail})
    rendered = {"prompt": PROMPT, "response": response + "</s>", "rendered": True, **detail}
    found = (await post(client, "/score", rendered))["helpfulness"]["tokens"]

    expected = plain["helpfulness"]["tokens"]
    assert found["ids"] == expected["ids"]
    assert found["rewards"] == pytest.approx(expected["rewards"], abs=1e-6)
    assert found["offsets"][:-1] == expected["offsets"][:-1]


async def test_lines_are_read_so_too(client: httpx.AsyncClient) -> None:
    (first, _) = await plain_rewards(client)
    line = {"prompt": PROMPT, "response": RESPONSES[0] + "<|im_end|>", "rendered": True, **STOP}

    reply = await client.post(
        "/score", content=orjson.dumps(line), headers={"Content-Type": "application/x-ndjson"}
    )

    assert orjson.loads(reply.content)["selected_reward"] == pytest.approx(first, abs=1e-6)


@pytest.mark.parametrize("path", ["/score", "/compare", "/ppo_reward"])
async def test_a_chat_can_not_be_rendered_already(client: httpx.AsyncClient, path: str) -> None:
    chat = [{"role": "user", "content": "q"}]
    field = "responses" if path == "/compare" else "response"
    item = {"prompt": chat, field: ["a", "b"] if path == "/compare" else "a", "rendered": True}

    reply = await client.post(path, json={"items": [item]})

    assert reply.status_code == 422
    (error,) = reply.json()["errors"]
    assert (error["pointer"], error["code"]) == ("/items/0/rendered", "rendered_messages")
    if path != "/compare":
        whole = {"messages": [*chat, {"role": "assistant", "content": "a"}], "rendered": True}
        refused = (await client.post(path, json={"items": [whole]})).json()["errors"][0]
        assert (refused["pointer"], refused["code"]) == ("/items/0/rendered", "unknown_field")


async def test_an_empty_response_is_refused_here(client: httpx.AsyncClient) -> None:
    reply = await client.post("/score", json={"prompt": PROMPT, "response": "", "rendered": True})

    assert reply.status_code == 422
    assert reply.json()["errors"][0]["code"] == "empty_text"
