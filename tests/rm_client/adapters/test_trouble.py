"""Every adapter while the server is away, full, wrongly set up, or dies in the middle of a call."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from rm_client import (
    ClientConfig,
    ItemsFailed,
    NotAuthorized,
    RewardClientError,
    ServiceUnavailable,
)
from rm_client.adapters import areal, environment, slime, trl
from tests.models import make_tokenizer, save_checkpoint
from tests.rm_client.adapters.test_samples import (
    Sample,
    by_ms_swift,
    by_openrlhf,
    by_slime,
    by_verl,
    by_verls_manager,
)
from tests.rm_client.calling import QUICK
from tests.rm_client.examples import problem, scored
from tests.rm_client.servers import cut_short, drop, real_server, reply, scripted_server

CHAT = Sample([{"role": "user", "content": "What is 6 · 7?"}])
TEXT = Sample("What is 6 · 7?")
OK = reply(200, {"items": [scored(0.5)]})
BROKEN = {"error": {"code": "engine_error", "detail": "", "pointer": "/items/0"}}
BRIEF = replace(QUICK, max_elapsed_seconds=0.3)


def by_trl(sample: Sample, url: str) -> float:
    config = ClientConfig(url=url, retry=environment.RetryPolicy())
    (reward,) = trl.trl_reward_sync(config)([sample.prompt], [sample.response])
    assert reward is not None
    return reward


def by_areal(sample: Sample, url: str) -> float:
    return areal.areal_reward(url, budget_seconds=BRIEF.max_elapsed_seconds)(
        sample.prompt, sample.response
    )


DOORS = [
    pytest.param(door, sample, id=door.__name__)
    for door, sample in (
        (by_slime, TEXT),
        (by_trl, TEXT),
        (by_verl, TEXT),
        (by_verls_manager, CHAT),
        (by_ms_swift, CHAT),
        (by_openrlhf, TEXT),
        (by_areal, TEXT),
    )
]
Door = Callable[[Sample, str], float]


@pytest.fixture(autouse=True)
def chosen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, Any], None]]:
    """Set the address and the policy of adapters that read the environment."""
    for name in ("EOS", "RENDERED", "FAILED_REWARD", "API_KEY"):
        monkeypatch.delenv(f"RM_CLIENT_{name}", raising=False)

    def choose(url: str, policy: Any) -> None:
        monkeypatch.setenv("RM_CLIENT_URL", url)
        monkeypatch.setattr(environment, "RetryPolicy", lambda: policy)

    yield choose
    areal._watch.cache_clear()


@pytest.mark.parametrize(("door", "sample"), DOORS[:-1])  # AReaL's time is its own matter
def test_a_server_that_restarts_in_the_middle_costs_nothing(
    door: Door, sample: Sample, chosen: Any
) -> None:
    patience = replace(QUICK, max_elapsed_seconds=60.0)
    with scripted_server(drop, cut_short, *[reply(503)] * 6, OK) as server:
        chosen(server.url, patience)
        assert door(sample, server.url) == 0.5


@pytest.mark.parametrize(("door", "sample"), DOORS)
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply(503, problem(503, "overloaded")), ServiceUnavailable),
        (reply(401, problem(401, "unauthorized")), NotAuthorized),
        (
            reply(
                200, {"items": [{"error": {"code": "engine_error", "detail": "", "pointer": ""}}]}
            ),
            ItemsFailed,
        ),
    ],
    ids=["away", "no key", "engine"],
)
def test_the_servers_trouble_is_an_exception_though_failed_samples_have_a_reward(
    door: Door,
    sample: Sample,
    answer: Any,
    kind: type[RewardClientError],
    chosen: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RM_CLIENT_FAILED_REWARD", "-7.5")
    with scripted_server(answer) as server:
        chosen(server.url, BRIEF)
        with pytest.raises(kind):
            door(sample, server.url)


def test_messages_for_a_model_of_texts_are_a_wrong_set_up_and_not_failed_samples(
    plain_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RM_CLIENT_FAILED_REWARD", "-7.5")
    with pytest.raises(ItemsFailed, match="no_chat_template"):
        by_slime(CHAT, plain_url)


def test_two_hundred_samples_at_once_are_all_served_by_a_queue_of_sixteen(plain_url: str) -> None:
    args = SimpleNamespace(rm_url=plain_url)

    async def rewards() -> list[float]:
        samples = (
            SimpleNamespace(prompt="p", response=f"answer {number}", metadata={})
            for number in range(200)
        )
        return await asyncio.gather(*(slime.custom_rm(args, one) for one in samples))

    found = asyncio.run(rewards())
    assert len(set(found)) > 100
    again = by_slime(Sample("p", "answer 150"), plain_url)
    assert found[150] == pytest.approx(again, abs=1e-5)


@pytest.fixture(scope="module")
def plain_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of a model without a chat template, with a queue of sixteen."""
    root = tmp_path_factory.mktemp("plain")
    model = save_checkpoint(root / "model", tokenizer=make_tokenizer(chat=False))
    limits = {"REWARDD_MAX_ITEMS": "16", "REWARDD_MAX_QUEUE_ITEMS": "16"}
    with real_server(root, "--helpfulness-model", str(model), **limits) as url:
        yield url
