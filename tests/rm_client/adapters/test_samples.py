"""Every adapter gives a sample the number that HTTP gives it, whatever form the sample has.

The truth is `POST /score`; the server's contract for slime (`POST /rm`), which takes a sample as it
is, agrees with it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from rm_client.adapters import areal, ms_swift, openrlhf, sample_reward, slime, trl, verl
from rm_client.adapters.samples import Reading, entry_of, turns_of
from rm_client.models import FailedReply
from tests.rm_client.examples import scored
from tests.rm_client.servers import reply, scripted_server

USER = {"role": "user", "content": "What is 6 · 7?"}
CALL = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "multiply"}}]}
TOOL = {"role": "tool", "content": [{"type": "text", "text": "4"}, {"type": "text", "text": "2"}]}
LONG = "so and so " * 200  # the models read 640 tokens, one a byte


@dataclass(frozen=True)
class Sample:
    """What a policy was asked and what it answered."""

    prompt: Any
    response: str = "It is 42."
    rendered: bool = False
    stop: str = ""


SAMPLES = {
    "plain": Sample("What is 6 · 7?"),
    "unicode": Sample("¿Qué? 🧮 漢字", "e\u0301 ≠ é · 🦉"),
    "chat": Sample([{"role": "system", "content": "Be brief."}, USER]),
    "parts": Sample([{"role": "user", "content": [{"type": "text", "text": "What?"}]}]),
    "tools": Sample([USER, CALL, TOOL]),
    "empty": Sample("What is 6 · 7?", ""),
    "empty after a chat": Sample([USER], ""),
    "prompt too long": Sample(LONG),
    "response too long": Sample("What is 6 · 7?", LONG),
    "rendered": Sample("<s>user: What is 6 · 7?\nassistant: ", rendered=True),
    "rendered and too long": Sample("<s>" + LONG, LONG, rendered=True),
    "stop token": Sample("What is 6 · 7?", "It is 42.<|im_end|>", stop="<|im_end|>"),
}


def by_slime(sample: Sample, url: str) -> float:
    args = SimpleNamespace(rm_url=f"{url}/rm?rendered=1", apply_chat_template=sample.rendered)
    given = SimpleNamespace(prompt=sample.prompt, response=sample.response, metadata={})
    return asyncio.run(slime.custom_rm(args, given))


def by_trl(sample: Sample, url: str) -> float:
    function = trl.trl_reward_sync(url, rendered=sample.rendered)
    completion: Any = sample.response
    if not isinstance(sample.prompt, str):
        completion = [{"role": "assistant", "content": sample.response}]
    (reward,) = function([sample.prompt], [completion])
    assert reward is not None
    return reward


def by_trls_agent(sample: Sample, url: str) -> float:
    """The tool's turns are part of the completion: its first has no content."""
    first, *rest = sample.prompt
    completion = [*rest, {"role": "assistant", "content": sample.response}]
    (reward,) = asyncio.run(trl.trl_reward(url)([[first]], [completion]))  # type: ignore[arg-type]
    assert reward is not None
    return reward


def by_verl(sample: Sample, url: str) -> float:
    extra = {"prompt": sample.prompt}
    found = verl.compute_score_sync("data", sample.response, None, extra, url=url)
    assert asyncio.run(verl.compute_score("data", sample.response, None, extra, url=url)) == found
    return found["score"]


class Rows(list[Any]):
    """As much of verl's DataProto as a manager touches."""

    def __getitem__(self, at: Any) -> Any:
        return Rows(super().__getitem__(at)) if isinstance(at, slice) else super().__getitem__(at)


def by_verls_manager(sample: Sample, url: str) -> float:
    letters = list(sample.response)
    ids = torch.arange(len(letters) + 3)  # and padding, which is masked
    mask = torch.tensor([1, 1] + [1] * len(letters) + [0] * 3)
    row = SimpleNamespace(
        batch={"responses": ids, "attention_mask": mask},
        non_tensor_batch={"raw_prompt": np.array(sample.prompt, dtype=object), "extra_info": {}},
    )
    tokenizer = SimpleNamespace(decode=lambda ids, **_: "".join(letters[i] for i in ids.tolist()))
    config = SimpleNamespace(reward={"reward_kwargs": {"url": url}})
    manager = verl.RewarddManager(
        config=config, tokenizer=tokenizer, compute_score=None, reward_router_address=None
    )
    found = asyncio.run(manager.run_single(Rows([None, row])))
    assert found["reward_extra_info"]["score"] == found["reward_score"]
    return float(found["reward_score"])


def by_ms_swift(sample: Sample, url: str) -> float:
    messages = [*sample.prompt, {"role": "assistant", "content": sample.response}]
    columns = {"trainer_state": object(), "request_id": ["x"], "solution": [None]}
    (reward,) = ms_swift.Rewardd(args=None)([sample.response], messages=[messages], **columns)
    return reward


def by_openrlhf(sample: Sample, url: str) -> float:
    found = openrlhf.reward_func([sample.prompt + sample.response], [sample.prompt], [None])
    return float(found["rewards"][0])


def by_areal(sample: Sample, url: str) -> float:
    function = areal.areal_reward(url, stop=[sample.stop] if sample.stop else [])
    if isinstance(sample.prompt, str):
        return function(sample.prompt, sample.response, [1], [2])
    return function(
        "<s>rendered by the policy's", sample.response, [1], [2], messages=sample.prompt
    )


TEXTS = ["plain", "unicode", "empty", "prompt too long", "response too long"]
CHATS = ["chat", "parts", "tools", "empty after a chat"]
RENDERED = ["rendered", "rendered and too long"]
DOORS: list[tuple[Callable[[Sample, str], float], list[str]]] = [
    (by_slime, [*TEXTS, *CHATS, *RENDERED, "stop token"]),
    (by_trl, [*TEXTS, *CHATS, *RENDERED]),
    (by_trls_agent, ["tools"]),
    (by_verl, [*TEXTS, *CHATS]),
    (by_verls_manager, CHATS),
    (by_ms_swift, CHATS),
    (by_openrlhf, [*TEXTS, *RENDERED, "stop token"]),
    (by_areal, [*CHATS, *RENDERED]),
]


@pytest.mark.parametrize(
    ("door", "name"), [(door, name) for door, names in DOORS for name in names]
)
def test_a_sample_has_the_number_that_http_gives_it(
    door: Callable[[Sample, str], float],
    name: str,
    server_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sample = SAMPLES[name]
    monkeypatch.setenv("RM_CLIENT_URL", "" if door is by_slime else server_url)
    monkeypatch.setenv("RM_CLIENT_EOS", sample.stop)
    monkeypatch.setenv("RM_CLIENT_RENDERED", str(int(sample.rendered)))
    expected = number_of(sample, server_url)

    assert door(sample, server_url) == pytest.approx(expected, abs=1e-5)
    asked = {"prompt": sample.prompt, "response": sample.response, "label": None}
    stop = {"stop": sample.stop} if sample.stop else {}
    query = {"rendered": str(int(sample.rendered)), **stop}
    answer = httpx.post(f"{server_url}/rm", json=asked, params=query)
    assert answer.json() == pytest.approx(expected, abs=1e-5), answer.text


def number_of(sample: Sample, url: str) -> float:
    item = {"prompt": sample.prompt, "response": sample.response, "rendered": sample.rendered}
    stop = [sample.stop] if sample.stop else []
    body = {"items": [{**item, "allow_empty": True}], "truncate": "left", "stop": stop}
    answer = httpx.post(f"{url}/score", json=body)
    return float(answer.json()["items"][0]["selected_reward"])


def test_what_a_template_may_read_of_a_turn_is_sent_and_a_tables_empty_cells_are_not() -> None:
    arguments = np.array([{"name": "multiply", "unit": None}], dtype=object)
    call = {"role": "assistant", "content": None, "name": None, "tool_calls": arguments}
    answer = {"role": "tool", "content": "42", "tool_call_id": "1", "weight": 3}

    assert turns_of([USER, call, answer]) == [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [{"name": "multiply"}]},
        {"role": "tool", "content": "42", "tool_call_id": "1"},
    ]


def test_a_completion_that_calls_a_tool_is_sent_as_a_turn() -> None:
    final = {"role": "assistant", "content": "42", "reasoning_content": "6 · 7"}

    assert entry_of([USER], [final], Reading()) == {
        "messages": [USER, final],
        "allow_empty": True,
    }


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ({"type": "text", "text": "a", "image_url": None}, "a"),
        ({"type": "refusal", "refusal": "No."}, "No."),
        ({"type": "image_url", "image_url": {"url": "data:…"}}, None),
        ({"type": "image", "text": None}, None),
        ({"text": 3}, None),
        (7, None),
    ],
)
def test_a_part_is_read_as_http_reads_it_or_fails_its_sample(part: Any, text: str | None) -> None:
    """An image that is left out without a word is another text's reward."""
    entry = entry_of([{"role": "user", "content": [part]}], "Yes.", Reading())

    if text is None:
        assert isinstance(entry, FailedReply)
    else:
        assert entry == {
            "prompt": [{"role": "user", "content": text}],
            "response": "Yes.",
            "allow_empty": True,
        }


def test_a_rendered_prompt_that_is_not_told_of_has_another_number(server_url: str) -> None:
    sample = SAMPLES["rendered"]
    told, untold = (
        trl.trl_reward_sync(server_url, rendered=flag)([sample.prompt], [sample.response])
        for flag in (True, False)
    )
    assert told != pytest.approx(untold, abs=1e-3)


def test_verls_manager_puts_a_score_at_each_sequences_last_token() -> None:
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]])
    data = SimpleNamespace(
        batch={
            "prompts": torch.zeros(3, 2, dtype=torch.long),
            "responses": torch.zeros(3, 3, dtype=torch.long),
            "attention_mask": mask,
        }
    )
    found = verl.RewarddManager.assemble_rm_scores(data, [0.5, -1.5, 2.5])
    assert found.tolist() == [[0.0, 0.5, 0.0], [-1.5, 0.0, 0.0], [2.5, 0.0, 0.0]]
    assert found.dtype == torch.float32


def test_ms_swift_keeps_one_connection_from_step_to_step(
    server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ok = reply(200, {"items": [scored(1.0)]})
    with scripted_server(ok) as server:
        monkeypatch.setenv("RM_CLIENT_URL", server.url)
        for _ in range(3):
            assert ms_swift.Rewardd()(["a"], messages=[[USER, {}]]) == [1.0]
        assert len({seen.client_port for seen in server.seen}) == 1


def test_a_prompt_that_looks_rendered_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sample_reward, "_told", set())
    seen = reply(200, {"items": [scored(1.0, warnings=["prompt_already_rendered"])]})
    with scripted_server(seen) as server:
        function = trl.trl_reward_sync(server.url)
        for _ in range(2):
            function(["p"], ["a"])
    assert [record.getMessage() for record in caplog.records if "RM_CLIENT_RENDERED" in record.msg]
    assert len(caplog.records) == 1
