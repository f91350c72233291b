"""One text has one number through every door: transformers' own of the text that is read."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from rewardd.files.columns import Columns
from rewardd.files.local import LocalScorer
from rm_client import wire
from rm_core.engine import load_engine
from tests.models import BOS, make_tokenizer, save_checkpoint
from tests.service.dialects.bodies import TONGUES
from tests.service.scripted import serving

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}>{{ (m['content'] or '') | trim }}"
    "{% for call in m.tool_calls or [] %}[{{ call.function.name }} "
    "{{ call.function.arguments.of }}]{% endfor %}</s>{% endfor %}"
)
MAX_LENGTH = 200
STOP = "<|im_end|>"
Body = dict[str, Any]
_OTHERWISE = ("rendered", "paddle", "chat", "verify")


@dataclass(frozen=True)
class Case:
    """A response to a prompt, which is a text or a chat, and how it reads to the model."""

    prompt: str | list[Body]
    response: str
    rendered_prompt: str
    stop: str = ""

    @property
    def text(self) -> str:
        return f"{self.rendered_prompt}{self.response.strip()}</s>"

    @property
    def chat(self) -> list[Body]:
        return user(self.prompt) if isinstance(self.prompt, str) else self.prompt


def user(content: Any) -> list[Body]:
    return [{"role": "user", "content": content}]


def asked(question: str) -> str:
    return f"<s><user>{question}</s><assistant>"


PARTS = [{"type": "text", "text": "Is 27 "}, {"type": "input_text", "text": "prime?"}]
CALL = {"id": "1", "type": "function", "function": {"name": "divisors", "arguments": '{"of": 27}'}}
TOOLS = [
    *user("Is 27 prime?"),
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": "1 3 9 27", "tool_call_id": "1"},
]
CASES = {
    "plain": Case("Is 27 prime?", "No: 27 = 3 × 9.", asked("Is 27 prime?")),
    "unicode": Case("Ça va, 你好 👋🏽?", "Très bien — 谢谢 😀", asked("Ça va, 你好 👋🏽?")),
    "empty": Case("Is 27 prime?", "", asked("Is 27 prime?")),
    "over-long": Case("why? " * 100, "So.", asked(("why? " * 100).strip())),
    "parts": Case(user(PARTS), "No.", asked("Is 27 prime?")),
    "tools": Case(
        TOOLS,
        "No.",
        "<s><user>Is 27 prime?</s><assistant>[divisors 27]</s><tool>1 3 9 27</s><assistant>",
    ),
    "stop": Case("Is 27 prime?", "No.", asked("Is 27 prime?"), stop=STOP),
    "system": Case(
        [{"role": "system", "content": "Be terse."}, *user("Is 27 prime?")],
        "No.",
        "<s><system>Be terse.</s><user>Is 27 prime?</s><assistant>",
    ),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = make_tokenizer(add_bos=True)
    tokenizer.chat_template = TEMPLATE
    tokenizer.model_max_length = MAX_LENGTH
    return save_checkpoint(tmp_path_factory.mktemp("rm"), tokenizer=tokenizer)


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> Any:
    return load_engine({"helpfulness": str(checkpoint)}, device="cpu")


@pytest.fixture
async def client(engine: Any, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(tmp_path, engine) as client:
        yield client


def own_reward(checkpoint: Path, text: str) -> float:
    ids = make_tokenizer()(text, add_special_tokens=False).input_ids
    if len(ids) > MAX_LENGTH:
        ids = [BOS, *ids[1 - MAX_LENGTH :]]
    model: Any = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    with torch.no_grad():
        return float(model(torch.tensor([ids])).logits.item())


def native_items(case: Case) -> Iterator[tuple[str, Body]]:
    """Every form of an item of /score."""
    response = case.response + case.stop
    yield "prompt", {"prompt": case.prompt, "response": response}
    yield "chat", {"prompt": case.chat, "response": response}
    yield "messages", {"messages": [*case.chat, {"role": "assistant", "content": response}]}
    rendered = case.response + (case.stop or "</s>")
    yield "rendered", {"prompt": case.rendered_prompt, "response": rendered, "rendered": True}


def native_doors(case: Case) -> Iterator[tuple[str, Any]]:
    options = {"truncate": "prompt", "stop": [case.stop] if case.stop else []}
    for name, item in native_items(case):
        if name != "rendered" or case.response:
            yield f"/score {name}", wire.score_call([item], "raise", **options)
        if "messages" not in item:
            pair = {**item, "responses": [item["response"], "other"]}
            del pair["response"]
            yield f"/compare {name}", wire.compare_call([pair], "raise", **options)
        yield (
            f"/ppo_reward {name}",
            wire.ppo_call([item], "raise", whiten="none", idempotency_key=None, **options),
        )


def native_reward(reply: Any) -> float:
    (item,) = reply.items
    item = item.responses[0] if hasattr(item, "responses") else item
    return float(item.helpfulness.reward)


def dialect_doors(case: Case) -> Iterator[tuple[str, Body, Callable[[Any], float]]]:
    """Every path of another project's contract that can say the case."""
    response = case.response + case.stop
    whole = case.rendered_prompt + case.response + (case.stop or "</s>")
    chat = [*case.chat, {"role": "assistant", "content": response}]

    def first_prob(reply: Any) -> float:
        return float(reply["data"][0]["probs"][0])

    yield "/classify", {"messages": chat, "use_activation": False}, first_prob
    yield "/rm", {"prompt": case.chat, "response": response}, float
    if isinstance(case.prompt, str):
        yield "/rm", {"prompt": case.prompt, "response": response}, float
        pairs = {"prompts": [case.prompt], "responses": [response]}
        yield "/get_reward", pairs, lambda reply: float(reply["rewards"][0])
        tensors = [
            {"name": name, "shape": [1], "datatype": "BYTES", "data": values}
            for name, values in pairs.items()
        ]
        yield (
            "/v2/models/rewardd/infer",
            {"inputs": tensors},
            lambda reply: float(reply["outputs"][0]["data"][0]),
        )
    if all(turn["role"] != "tool" for turn in case.chat):
        said = {"type": "message", "role": "assistant", "content": response}
        rollout = {"responses_create_params": {"input": case.chat}, "response": {"output": [said]}}
        yield "/verify", rollout, lambda reply: float(reply["reward"])
    query = {"query": [whole], "prompts": [case.rendered_prompt]}
    yield "/get_reward", query, lambda reply: float(reply["rewards"][0])
    rendered = whole.removeprefix(case.rendered_prompt)
    yield "/rm?rendered=1", {"prompt": case.rendered_prompt, "response": rendered}, float
    apart = {"prompts": [case.rendered_prompt], "responses": [rendered]}
    yield "/get_reward?rendered=1", apart, lambda reply: float(reply["rewards"][0])
    for tongue in TONGUES:
        # Those of rendered prompts and PaddleNLP cut the text anywhere, the others are of chats.
        if not any(word in tongue.name + tongue.path for word in _OTHERWISE):
            yield tongue.path, tongue.body(whole), tongue.read


@pytest.mark.parametrize("name", CASES)
async def test_every_door_gives_the_same_number(
    name: str, checkpoint: Path, client: httpx.AsyncClient
) -> None:
    case, found = CASES[name], {}
    for index, (path, body, read) in enumerate(dialect_doors(case)):
        params = httpx.QueryParams(path.partition("?")[2])
        params = params.add("stop", case.stop) if case.stop else params
        reply = await client.post(path.partition("?")[0], json=body, params=params)
        assert reply.status_code == 200, (path, reply.text)
        found[f"{index} {path}"] = read(reply.json())
    if case.response:
        for door, call in native_doors(case):
            reply = await client.request(
                call.method, call.path, content=call.content, headers=call.headers(30.0)
            )
            assert reply.status_code == 200, (door, reply.text)
            found[door] = native_reward(call.parse(reply.content))

    expected = own_reward(checkpoint, case.text)
    assert len(found) >= 12
    assert found == pytest.approx(dict.fromkeys(found, expected), abs=1e-5)


def test_files_give_the_same_number(checkpoint: Path, engine: Any) -> None:
    scorer = LocalScorer(engine, max_pack_tokens=4096)
    expected, found = {}, {}
    for name, case in CASES.items():
        if not case.response:
            continue
        for form, row in native_items(case):
            columns = Columns(rendered=row.pop("rendered", False))
            (result,) = scorer.score(
                iter([columns.score_item(row)]), "prompt", [case.stop] if case.stop else []
            )
            found[name, form] = result["helpfulness"]["reward"]
            expected[name, form] = own_reward(checkpoint, case.text)

    assert found == pytest.approx(expected, abs=1e-5)


async def test_what_native_routes_refuse_they_refuse_by_name(client: httpx.AsyncClient) -> None:
    image = user([{"type": "image_url", "image_url": {"url": "x"}}])
    empty = {"prompt": "Is 27 prime?", "response": ""}
    for path in ("/score", "/ppo_reward"):
        codes = []
        for item in (empty, {"prompt": image, "response": "a"}):
            reply = await client.post(path, content=orjson.dumps({"items": [item]}), headers=JSON)
            codes.append(reply.json()["errors"][0]["code"])
        assert codes == ["empty_text", "unsupported_part"]
    for path, body in (
        ("/rm", {"prompt": image, "response": "a"}),
        ("/classify", {"messages": [*image, {"role": "assistant", "content": "a"}]}),
    ):
        reply = await client.post(path, json=body)
        assert reply.status_code == 422
        assert reply.json()["errors"][0]["code"] == "unsupported_part"


JSON = {"Content-Type": "application/json"}
