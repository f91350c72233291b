"""The reward function by TRL's contract, where TRL itself is not installed."""

import asyncio
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from rm_client import (
    ClientConfig,
    InvalidRequest,
    ItemsFailed,
    RequestRefused,
    RetryPolicy,
    RewardClient,
    ServiceUnavailable,
)
from rm_client.adapters.trl import trl_reward, trl_reward_sync
from tests.rm_client.examples import FAILED, STATISTICS, problem, scored, shaped
from tests.rm_client.servers import Step, reply, scripted_server

RewardFunction = Callable[..., list[float | None]]

CALLED_WITH = {
    # What TRL adds to the dataset's columns; none of it is JSON.
    "trainer_state": object(),
    "log_extra": lambda *_: None,
    "environments": [object()],
}


@pytest.fixture(params=["async", "sync"])
def reward(request: pytest.FixtureRequest) -> RewardFunction:
    """Call a reward function as TRL does."""

    def call(url: Any, options: dict[str, Any], **columns: Any) -> list[float | None]:
        if request.param == "sync":
            return trl_reward_sync(url, **options)(**columns, **CALLED_WITH)
        return asyncio.run(trl_reward(url, **options)(**columns, **CALLED_WITH))  # type: ignore[arg-type]

    return call


def echo(count: int, value: float = 0.5) -> Step:
    return reply(200, {"items": [scored(value + index) for index in range(count)]})


def test_it_is_a_coroutine_function_with_a_name_that_can_be_pickled() -> None:
    function = trl_reward("http://h")
    for one in (function, pickle.loads(pickle.dumps(function))):
        assert inspect.iscoroutinefunction(one)
        assert one.__name__ == "rewardd"
    assert not inspect.iscoroutinefunction(trl_reward_sync("http://h"))
    assert pickle.loads(pickle.dumps(trl_reward_sync("http://h"))).__name__ == "rewardd_sync"


def test_texts_are_judged_by_the_real_server_in_order(
    reward: RewardFunction, server_url: str
) -> None:
    prompts, completions = ["p", "p", "q"], ["one", "two", "three"]
    rewards = reward(server_url, {}, prompts=prompts, completions=completions)
    pairs = zip(prompts, completions, strict=True)
    expected = RewardClient(server_url).score([{"prompt": p, "response": c} for p, c in pairs])
    assert rewards == pytest.approx([item.selected_reward for item in expected.items], abs=1e-5)  # type: ignore[union-attr]


def test_only_the_column_for_safety_is_sent(reward: RewardFunction) -> None:
    with scripted_server(echo(2)) as server:
        reward(
            server.url,
            {},
            prompts=["p", "q"],
            completions=["a", "b"],
            completion_ids=[[1], [2]],
            is_safety=[True, None],
            answer=[{"secret": object()}, 2],
        )
        assert server.seen[0].json() == {
            "items": [
                {"prompt": "p", "response": "a", "allow_empty": True, "is_safety": True},
                {"prompt": "q", "response": "b", "allow_empty": True},
            ],
            "truncate": "left",
        }


def test_chats_are_sent_as_http_reads_them(reward: RewardFunction) -> None:
    prompt = [{"role": "user", "content": "p", "name": "Ada", "tool_calls": None}]
    parts = [{"type": "text", "text": "in "}, {"type": "text", "text": "parts"}]
    completions = [
        [{"role": "assistant", "content": "a"}],
        [{"role": "assistant", "content": parts}],
        [
            {"role": "assistant", "content": "wait"},
            {"role": "tool", "content": "42"},
            {"role": "assistant", "content": "b"},
        ],
    ]
    with scripted_server(echo(3)) as server:
        reward(server.url, {}, prompts=[prompt] * 3, completions=completions)
        first, second, third = server.seen[0].json()["items"]
    turn = {"role": "user", "content": "p", "name": "Ada"}
    assert first == {"prompt": [turn], "response": "a", "allow_empty": True}
    assert second == {"prompt": [turn], "response": "in parts", "allow_empty": True}
    assert [message["content"] for message in third["messages"]] == ["p", "wait", "42", "b"]


UNSENDABLE = "lone \ud800"
CUT_AT_A_TOOL = [{"role": "assistant", "content": None}, {"role": "tool", "content": "42"}]


def test_what_can_not_be_sent_or_judged_is_none_and_its_neighbours_are_not(
    reward: RewardFunction,
) -> None:
    prompt = [{"role": "user", "content": "p"}]
    answer = reply(200, {"items": [scored(1.0), FAILED, scored(3.0)]})
    metrics: dict[str, float] = {}
    with scripted_server(answer) as server:
        rewards = reward(
            server.url,
            {"on_failed": "none"},
            prompts=[prompt] * 5,
            completions=["a", UNSENDABLE, CUT_AT_A_TOOL, "c", "b"],
            log_metric=metrics.__setitem__,
        )
    assert rewards == [1.0, None, None, None, 3.0]
    assert metrics == {"rewardd/failed": 3 / 5}


@pytest.mark.parametrize("options", [{}, {"stream": "s"}])
def test_a_batch_of_nothing_but_failures_is_all_none(
    reward: RewardFunction, server_url: str, options: dict[str, Any]
) -> None:
    given = {"prompts": ["p", "p"], "completions": [UNSENDABLE, UNSENDABLE]}
    assert reward(server_url, {**options, "on_failed": "none"}, **given) == [None, None]


@pytest.mark.parametrize("options", [{}, {"stream": "s"}])
def test_a_missing_reward_is_never_zero(
    reward: RewardFunction,
    server_url: str,
    options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = {"prompts": ["p", "p"], "completions": ["", UNSENDABLE]}
    with pytest.raises(ItemsFailed, match="failed_reward"):
        reward(server_url, {**options, "on_failed": "raise"}, **given)
    empty, failed = reward(server_url, {**options, "failed_reward": -7.5}, **given)
    assert failed == -7.5
    assert empty is not None  # an empty completion is judged, as by every other door
    monkeypatch.setenv("RM_CLIENT_FAILED_REWARD", "-8")
    assert reward(server_url, options, **given)[1] == -8.0


def test_the_plain_function_raises_by_default_for_its_trainers_count_none_as_zero(
    server_url: str,
) -> None:
    with pytest.raises(ItemsFailed):
        trl_reward_sync(server_url)(["p"], [UNSENDABLE])


@pytest.mark.parametrize("code", ["overloaded", "engine_error", "no_chat_template"])
def test_the_servers_trouble_is_an_exception_whatever_a_failed_sample_gets(
    reward: RewardFunction, code: str
) -> None:
    failed = {"error": {"code": code, "detail": "Not now.", "pointer": "/items/0"}}
    for options in ({"on_failed": "none"}, {"failed_reward": -1.0}):
        with (
            scripted_server(reply(200, {"items": [failed]})) as server,
            pytest.raises(ItemsFailed, match="server's trouble"),
        ):
            reward(server.url, options, prompts=["p"], completions=["a"])


def test_a_server_that_is_gone_is_an_exception(reward: RewardFunction) -> None:
    with scripted_server(echo(1)) as server:
        url = server.url
    config = ClientConfig(url=url, retry=RetryPolicy(max_attempts=1))
    with pytest.raises(ServiceUnavailable):
        reward(config, {}, prompts=["p"], completions=["a"])


def test_completions_that_were_cut_off_are_marked(reward: RewardFunction) -> None:
    answer = reply(
        200, {"items": [shaped(0.1), shaped(0.2), shaped(0.3)], "statistics": STATISTICS}
    )
    options = {"eos_token_id": [7, 8], "missing_eos_penalty": 0.5}
    with scripted_server(answer) as server:
        rewards = reward(
            server.url,
            options,
            prompts=["p"] * 3,
            completions=["a", "b", "c"],
            completion_ids=[[1, 7], [7, 1], []],
        )
        (seen,) = server.seen
        body = seen.json()
    assert rewards == [0.1, 0.2, 0.3]
    assert seen.path == "/ppo_reward"
    assert [item["finished"] for item in body["items"]] == [True, False, False]
    assert (body["whiten"], body["missing_eos_penalty"]) == ({"mode": "none"}, 0.5)


def test_a_stream_whitens(reward: RewardFunction, server_url: str) -> None:
    stream = f"trl-{id(reward)}"
    options = {"stream": stream, "eos_token_id": 7}
    texts = [f"answer {number}" for number in range(8)]
    rewards = reward(
        server_url,
        options,
        prompts=["p"] * 8,
        completions=texts,
        completion_ids=[[7]] * 8,
    )
    assert sum(reward or 0.0 for reward in rewards) == pytest.approx(0.0, abs=1e-4)
    assert RewardClient(server_url).get_stream(stream).num_samples == 8


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("selected", 2.0),
        ("helpfulness", 2.0),
        ("safety", 1.0),
        ("raw_selected", 4.0),
        ("raw_helpfulness", 4.0),
        ("raw_safety", 1.0),
    ],
)
def test_a_model_is_named_for_its_calibrated_reward_and_raw_for_its_heads(
    reward: RewardFunction, name: str, expected: float
) -> None:
    helpfulness = {"reward": 4.0, "score": 0.88, "calibrated_reward": 2.0}
    answer = reply(200, {"items": [scored(2.0, helpfulness=helpfulness)]})
    with scripted_server(answer) as server:
        found = reward(server.url, {"reward": name}, prompts=["p"], completions=["a"])
    assert found == [expected]


def test_a_model_that_is_not_there_is_an_exception(reward: RewardFunction) -> None:
    with (
        scripted_server(reply(200, {"items": [scored(1.0, safety=None)]})) as server,
        pytest.raises(InvalidRequest, match="no safety model"),
    ):
        reward(server.url, {"reward": "safety"}, prompts=["p"], completions=["a"])


@pytest.mark.parametrize(
    "options",
    [
        {"missing_eos_penalty": 1.0},
        {"stream": "s", "reward": "safety"},
        {"colour": "red"},
    ],
)
def test_options_that_contradict_each_other_are_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        trl_reward("http://h", **options)


def test_prompts_and_completions_must_be_as_many(reward: RewardFunction) -> None:
    with pytest.raises(InvalidRequest):
        reward("http://h", {}, prompts=["p"], completions=["a", "b"])


def test_a_refused_request_is_an_exception(reward: RewardFunction) -> None:
    refused = reply(413, problem(413, "too_many_items"))
    with scripted_server(refused) as server, pytest.raises(RequestRefused, match="too_many_items"):
        reward(server.url, {}, prompts=["p"], completions=["a"])
