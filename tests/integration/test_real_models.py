"""The whole path with real models: `rewardd serve` as a process, every answer held to transformers.

The oracle is transformers' own forward of each text alone, batch size 1, float32.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rewardd.demo.server_process import ServerProcess
from tests.models import make_tokenizer, save_checkpoint

TOLERANCE = 1e-5
ROLES = ("safety", "helpfulness")


class Oracle:
    """Rewards by transformers alone, remembered by text."""

    def __init__(self, directories: dict[str, Path]) -> None:
        self._models = {
            role: AutoModelForSequenceClassification.from_pretrained(directory).eval()
            for role, directory in directories.items()
        }
        self._tokenizer = AutoTokenizer.from_pretrained(directories["safety"])
        self._known: dict[tuple[str, str], dict[str, float]] = {}

    def __call__(self, prompt: str, response: str) -> dict[str, float]:
        key = (prompt, response)
        if key not in self._known:
            text = f"<s><user>{prompt}</s><assistant>{response}</s>"
            ids = self._tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
            with torch.no_grad():
                self._known[key] = {
                    role: float(model(input_ids=ids).logits[0, 0])
                    for role, model in self._models.items()
                }
        return self._known[key]


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    tokenizer = make_tokenizer(chat=True)
    return {
        role: save_checkpoint(root / role, "llama", seed=seed, tokenizer=tokenizer)
        for seed, role in enumerate(ROLES)
    }


@pytest.fixture(scope="module")
def url(directories: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("server")
    flags = [f"--{role}-model={directory}" for role, directory in directories.items()]
    flags += ["--state-dir", str(root / "state")]
    with ServerProcess(flags, port=0, log=root / "log") as server:
        yield server.wait_until_ready()


def random_text(rng: random.Random, longest: int) -> str:
    return "".join(rng.choice("abcdefgh ijkl, mnop.") for _ in range(rng.randint(1, longest))) + "x"


def check(result: dict[str, Any], expected: dict[str, float]) -> None:
    for role in ROLES:
        assert result[role]["reward"] == pytest.approx(expected[role], abs=TOLERANCE)


async def score(client: httpx.AsyncClient, prompt: str, responses: Any, expected: Any) -> None:
    items = [{"prompt": prompt, "responses": responses}]
    reply = (await client.post("/score", json={"items": items})).raise_for_status().json()
    for result, rewards in zip(reply["items"][0]["responses"], expected, strict=True):
        check(result, rewards)


async def single(client: httpx.AsyncClient, prompt: str, responses: Any, expected: Any) -> None:
    for response, rewards in zip(responses, expected, strict=True):
        body = {"prompt": prompt, "response": response}
        check((await client.post("/score", json=body)).raise_for_status().json(), rewards)


async def compare(client: httpx.AsyncClient, prompt: str, responses: Any, expected: Any) -> None:
    items = [{"prompt": prompt, "responses": [*responses, "the last"]}]
    reply = (await client.post("/compare", json={"items": items})).raise_for_status().json()
    for result, rewards in zip(reply["items"][0]["responses"], expected, strict=False):
        check(result, rewards)


async def ppo(client: httpx.AsyncClient, prompt: str, responses: Any, expected: Any) -> None:
    items = [{"prompt": prompt, "response": response} for response in responses]
    body = {"stream": "mixed", "items": items}
    reply = (await client.post("/ppo_reward", json=body)).raise_for_status().json()
    for result, rewards in zip(reply["items"], expected, strict=True):
        check(result, rewards)


async def ndjson(client: httpx.AsyncClient, prompt: str, responses: Any, expected: Any) -> None:
    lines = [orjson.dumps({"prompt": prompt, "response": response}) for response in responses]
    headers = {"Content-Type": "application/x-ndjson"}
    reply = await client.post("/score", content=b"\n".join(lines), headers=headers)
    for line, rewards in zip(reply.content.splitlines(), expected, strict=True):
        check(orjson.loads(line), rewards)


WORK = (score, single, compare, ppo, ndjson)


async def test_sixty_four_clients_with_mixed_work_get_every_answer_right(
    url: str, directories: dict[str, Path]
) -> None:
    oracle = Oracle(directories)
    rng = random.Random(64)
    prompts = [random_text(rng, 200) for _ in range(12)]

    async def one_client(client: httpx.AsyncClient, number: int) -> None:
        mine = random.Random(number)
        for turn in range(4):
            prompt = mine.choice(prompts)
            responses = [random_text(mine, 120) for _ in range(mine.randint(1, 5))]
            expected = [oracle(prompt, response) for response in responses]
            await WORK[(number + turn) % len(WORK)](client, prompt, responses, expected)

    limits = httpx.Limits(max_connections=64)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        await asyncio.gather(*(one_client(client, number) for number in range(64)))
        metrics = (await client.get("/metrics")).text
    samples = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if line[0] != "#")
    mean_pack = float(samples["rm_batch_size_sum"]) / float(samples["rm_batch_size_count"])
    assert mean_pack > 1.5, "64 clients were not batched"


BAD_TEXTS = {
    "whitespace": ("p", " \n\t "),
    "emoji": ("p", "😀" * 100_000),
    "too many tokens": ("p", "word " * 200),
}


@pytest.mark.parametrize("name", BAD_TEXTS)
def test_a_text_that_can_not_be_scored_is_a_quick_problem_and_harms_nobody(
    url: str, directories: dict[str, Path], name: str
) -> None:
    prompt, response = BAD_TEXTS[name]
    oracle = Oracle(directories)
    bad = {"prompt": prompt, "response": response}
    with httpx.Client(base_url=url, timeout=30) as client:
        before = client.put("/streams/bad", json={"count": 5, "mean": 1.0, "m2": 2.0}).json()

        began = time.monotonic()
        reply = client.post("/ppo_reward", json={"stream": "bad", "items": [bad]})
        seconds = time.monotonic() - began
        good = {"prompt": "fine", "response": "good"}
        mixed = client.post("/score", json={"items": [bad, good]}).json()["items"]

        assert reply.status_code in (413, 422)
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json()["errors"][0]["pointer"] == "/items/0/response"
        assert seconds < 1.0
        assert response[:20] not in reply.text
        assert "error" in mixed[0]
        check(mixed[1], oracle("fine", "good"))
        after = client.get("/streams/bad").json()
        assert [after[k] for k in ("count", "mean", "m2")] == [
            before[k] for k in ("count", "mean", "m2")
        ]


def test_a_group_costs_its_prompt_once_and_scores_as_singles_do(url: str) -> None:
    rng = random.Random(8)
    prompt = random_text(rng, 300) * 2
    responses = [random_text(rng, 40) for _ in range(8)]
    with httpx.Client(base_url=url, timeout=60) as client:
        before = _reused(client)
        items = [{"prompt": prompt, "responses": responses}]
        group = client.post("/score", json={"items": items}).json()["items"][0]["responses"]
        assert _reused(client) - before >= 7 * 0.9 * len(prompt)
        # Rewards of tokens were not asked for before, so that each text runs again.
        single = {"prompt": prompt, "detail": "tokens"}
        alone = [client.post("/score", json={**single, "response": r}).json() for r in responses]

        for one, together in zip(alone, group, strict=True):
            for role in ROLES:
                assert together[role]["reward"] == pytest.approx(one[role]["reward"], abs=TOLERANCE)


def _reused(client: httpx.Client) -> float:
    lines = client.get("/metrics").text.splitlines()
    (line,) = itertools.islice((x for x in lines if 'kind="prefix_reused"' in x), 1)
    return float(line.rsplit(" ", 1)[1])
