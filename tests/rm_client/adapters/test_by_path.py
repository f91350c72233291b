"""The functions that frameworks load by path, called as those frameworks call them."""

import asyncio
import importlib.util
import inspect
import json
import math
import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import rm_client.adapters.openrlhf
import rm_client.adapters.verl
from rm_client import InvalidRequest, ItemsFailed, RewardClient, ServiceUnavailable
from rm_client.adapters import areal, ms_swift, slime
from tests.rm_client.examples import FAILED, scored
from tests.rm_client.servers import drop, hang, reply, scripted_server

PROMPT, RESPONSE = "Is 27 prime?", "No: 27 = 3 × 9."
UNSENDABLE = "lone \ud800"  # UTF-8 can't carry it: no route could score it


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    for name in ("URL", "API_KEY", "EOS", "RENDERED", "FAILED_REWARD"):
        monkeypatch.delenv(f"RM_CLIENT_{name}", raising=False)
    return lambda url: monkeypatch.setenv("RM_CLIENT_URL", url)


def load(module: Any, name: str) -> Any:
    """Load a function from a file, as a framework does: the module is in no package."""
    assert module.__file__ is not None
    spec = importlib.util.spec_from_file_location("user_code", Path(module.__file__))
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return getattr(loaded, name)


def reward_of(url: str, prompt: Any, response: str, **more: Any) -> float:
    (item,) = RewardClient(url).score([{"prompt": prompt, "response": response, **more}]).items
    return item.selected_reward  # type: ignore[union-attr]


def verl_call(**more: Any) -> Any:
    compute_score = load(rm_client.adapters.verl, "compute_score")
    assert inspect.iscoroutinefunction(compute_score)
    given = {"data_source": "d", "solution_str": RESPONSE, "ground_truth": None, **more}
    return asyncio.run(compute_score(**given))


def test_verl_gets_a_score_and_always_the_same_keys(
    address: Any, server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address(server_url)
    chat = [{"role": "user", "content": PROMPT, "extra": 1}]
    found = verl_call(extra_info={"prompt": PROMPT}, reward_router_address="x")
    same = verl_call(extra_info={"prompt": chat, "is_safety": 1})
    monkeypatch.setenv("RM_CLIENT_FAILED_REWARD", "-7.5")
    failed = verl_call(solution_str=UNSENDABLE, extra_info={"prompt": PROMPT})
    assert found["score"] == pytest.approx(reward_of(server_url, PROMPT, RESPONSE), abs=1e-5)
    assert same["rewardd_selected_safety"] == 1.0
    assert (failed["score"], failed["rewardd_failed"]) == (-7.5, 1.0)
    assert list(found) == list(same) == list(failed)
    assert all(math.isfinite(value) for value in failed.values())


def test_verl_takes_the_address_from_its_own_configuration(address: Any, server_url: str) -> None:
    with pytest.raises(InvalidRequest, match="RM_CLIENT_URL"):
        verl_call(extra_info={"prompt": PROMPT})
    found = verl_call(extra_info={"question": PROMPT}, url=server_url, prompt_key="question")
    assert found["rewardd_failed"] == 0.0


def test_verl_without_a_prompt_is_told_where_to_put_it(address: Any, server_url: str) -> None:
    with pytest.raises(InvalidRequest, match="extra_info"):
        verl_call(extra_info=None, url=server_url)


def openrlhf_call(*shard: Any) -> dict[str, Any]:
    found: dict[str, Any] = load(rm_client.adapters.openrlhf, "reward_func")(*shard)
    json.dumps(found, allow_nan=False)
    return found


def test_openrlhf_gets_numbers_for_every_query_of_a_shard(
    address: Any, server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address(server_url)
    monkeypatch.setenv("RM_CLIENT_EOS", "<|end|>")
    monkeypatch.setenv("RM_CLIENT_FAILED_REWARD", "-7.5")
    queries = [f"{PROMPT}{RESPONSE}<|end|>", PROMPT + UNSENDABLE, f"tail of it{RESPONSE}"]
    found = openrlhf_call(queries, [PROMPT, PROMPT, f"head and tail of it {PROMPT}"], [None] * 3)
    expected = [
        reward_of(server_url, PROMPT, RESPONSE),
        -7.5,
        reward_of(server_url, "", f"tail of it{RESPONSE}"),
    ]
    assert found["rewards"] == pytest.approx(expected, abs=1e-5)
    assert 0.0 < found["scores"][0] < 1.0
    assert found["extra_logs"]["rewardd_failed"] == [0.0, 1.0, 0.0]


def test_openrlhf_gets_the_same_keys_for_one_for_none_and_for_a_bad_one(
    address: Any, server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address(server_url)
    monkeypatch.setenv("RM_CLIENT_FAILED_REWARD", "-7.5")
    keys = [
        list(openrlhf_call(*shard)["extra_logs"])
        for shard in (
            ([PROMPT + RESPONSE], [PROMPT], ["label"]),
            ([], [], []),
            ([PROMPT + UNSENDABLE], [PROMPT], [None]),
        )
    ]
    assert keys[0] == keys[1] == keys[2]
    assert openrlhf_call([], [], [])["rewards"] == []


def test_openrlhf_refuses_lists_that_do_not_fit(address: Any, server_url: str) -> None:
    address(server_url)
    with pytest.raises(InvalidRequest):
        openrlhf_call(["a", "b"], ["a"], [None])


def sample(prompt: Any = PROMPT, response: str = RESPONSE, **more: Any) -> Any:
    return SimpleNamespace(prompt=prompt, response=response, label=None, metadata={}, **more)


def test_slime_gets_a_number_for_a_sample_and_numbers_for_a_group(
    address: Any, server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RM_CLIENT_EOS", "</s>")
    monkeypatch.setenv("RM_CLIENT_FAILED_REWARD", "-5")
    args = SimpleNamespace(rm_url=server_url)
    assert inspect.iscoroutinefunction(slime.custom_rm)
    chat = [{"role": "user", "content": PROMPT}]
    group = [sample(response=RESPONSE + "</s>"), sample(chat), sample(response=UNSENDABLE)]
    one = asyncio.run(slime.custom_rm(args, group[0]))
    several = asyncio.run(slime.custom_rm(args, group, evaluation=False))
    expected = reward_of(server_url, PROMPT, RESPONSE)
    assert one == pytest.approx(expected, abs=1e-5)
    assert several == pytest.approx([expected, reward_of(server_url, chat, RESPONSE), -5], abs=1e-5)
    assert asyncio.run(slime.custom_rm(args, [])) == []


def test_areal_gets_a_number_in_a_process_of_its_pool(address: Any, server_url: str) -> None:
    function = areal.areal_reward(server_url)
    row = {"is_safety": True, "answer": 3}
    # As AReaL wraps it: a partial of the function, pickled for every sample.
    call = partial(function, PROMPT, RESPONSE, [1], [2], **row)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        found = [pool.submit(call).result(60) for _ in range(2)]
    # AReaL's prompt is the decoded one, in which the policy's template is applied already.
    expected = reward_of(server_url, PROMPT, RESPONSE, is_safety=True, rendered=True)
    assert found == pytest.approx([expected] * 2, abs=1e-5)


def test_areal_keeps_its_connection_although_the_function_is_pickled_each_time(
    address: Any,
) -> None:
    address("http://unused")
    with scripted_server(reply(200, {"items": [scored(1.0)]})) as server:
        function = areal.areal_reward(server.url)
        for _ in range(3):
            assert pickle.loads(pickle.dumps(function))(PROMPT, RESPONSE) == 1.0
        ports = {seen.client_port for seen in server.seen}
    assert len(ports) == 1


@pytest.mark.parametrize("trouble", [hang, drop])
def test_areal_has_an_answer_or_an_error_within_its_budget(address: Any, trouble: Any) -> None:
    with scripted_server(trouble) as server:
        function = areal.areal_reward(server.url, budget_seconds=0.6)
        with pytest.raises(ServiceUnavailable):
            function(PROMPT, RESPONSE)
        assert server.seen[-1].at - server.seen[0].at < 0.7


def test_areal_gets_the_stand_in_for_a_sample_that_can_not_be_judged(
    address: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted_server(reply(200, {"items": [FAILED]})) as server:
        assert areal.areal_reward(server.url, failed_reward=-1.0)(PROMPT, "") == -1.0
        address(server.url)
        monkeypatch.setenv("RM_CLIENT_FAILED_REWARD", "-2")
        assert areal.reward_fn(PROMPT, "", [1], [2], anything=object()) == -2.0


def test_without_a_stand_in_a_sample_that_can_not_be_judged_is_an_exception_that_names_it(
    address: Any, server_url: str
) -> None:
    # A number of our own choice might be better than what the policy earns by answering.
    address(server_url)
    for call in (
        lambda: verl_call(solution_str=UNSENDABLE, extra_info={"prompt": PROMPT}),
        lambda: openrlhf_call([PROMPT + UNSENDABLE], [PROMPT], [None]),
        lambda: asyncio.run(slime.custom_rm(SimpleNamespace(), sample(response=UNSENDABLE))),
        lambda: areal.reward_fn(PROMPT, UNSENDABLE),
        lambda: areal.areal_reward(server_url)(PROMPT, UNSENDABLE),
        lambda: ms_swift.Rewardd()([UNSENDABLE], [[{"role": "user", "content": PROMPT}, {}]]),
    ):
        with pytest.raises(ItemsFailed, match="RM_CLIENT_FAILED_REWARD"):
            call()


@pytest.mark.parametrize("value", ["none", "nan", "-inf"])
def test_a_stand_in_that_is_no_number_is_refused(
    address: Any, server_url: str, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    address(server_url)
    monkeypatch.setenv("RM_CLIENT_FAILED_REWARD", value)
    with pytest.raises(InvalidRequest, match="RM_CLIENT_FAILED_REWARD"):
        areal.reward_fn(PROMPT, RESPONSE)
