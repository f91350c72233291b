"""Models are replaced one swap at a time; what goes wrong leaves those that serve."""

import asyncio
import math
from pathlib import Path

import pytest

from rm_core.errors import UnsafeCheckpoint
from service.swap.errors import SwapRefused
from tests.service.rig import until
from tests.service.swap.conftest import Swapped, serving_numbers
from tests.service.swap.loaders import NumberScorer, checkpoint, digest_of


async def test_the_new_model_answers_and_every_reply_says_whose_it_is(swapped: Swapped) -> None:
    before = await swapped.reward()
    report = (await swapped.put("two")).json()
    after = await swapped.reward()

    assert (before[0], after[0]) == (1.0, 2.0)
    assert before[1] != after[1]
    assert digest_of(2.0)[:16] in after[1]
    assert report["outcome"] == "switched"
    assert report["after"] == {"safety": digest_of(2.0), "helpfulness": digest_of(3.0)}
    assert [scorer.numbers["safety"] for scorer in swapped.loader.released] == [1.0]  # type: ignore[attr-defined]
    status = await swapped.status()
    assert status["models"]["safety"]["digest"] == digest_of(2.0)
    assert (status["swap"], status["last"]["outcome"]) == (None, "switched")
    found = swapped.state.metrics.registry.get_sample_value
    told = {"model": "safety", "weights_sha256": digest_of(2.0)}
    assert found("rm_model_info", told) == 1.0
    assert found("rm_model_info", {**told, "weights_sha256": digest_of(1.0)}) is None


async def test_who_is_at_work_keeps_the_model_that_it_came_to(swapped: Swapped) -> None:
    old = swapped.state.version.scorer
    assert isinstance(old, NumberScorer)
    old.gate.clear()
    held = asyncio.create_task(swapped.reward("held"))
    await asyncio.to_thread(old.begun.wait, 10)
    swap = asyncio.create_task(swapped.put("two"))
    await until(lambda: swapped.state.version.scorer is not old)
    assert swapped.loader.released == []
    old.gate.set()

    (reward, provenance), report = await held, (await swap).json()
    assert (reward, report["outcome"]) == (1.0, "switched")
    assert digest_of(1.0)[:16] in provenance
    assert swapped.loader.released == [old]


async def test_back_by_the_same_call_as_often_as_one_likes(swapped: Swapped) -> None:
    assert (await swapped.put(roll_back=True)).json()["code"] == "nothing_to_roll_back"
    await swapped.put("two")
    for expected in (1.0, 2.0):
        assert (await swapped.put(roll_back=True)).json()["outcome"] == "switched"
        assert (await swapped.reward())[0] == expected


async def test_a_dry_run_changes_nothing(swapped: Swapped) -> None:
    report = (await swapped.put("two", dry_run=True)).json()

    assert report["outcome"] == "dry_run"
    assert report["after"]["safety"] == digest_of(2.0)
    assert (await swapped.reward())[0] == 1.0
    assert [scorer.numbers["safety"] for scorer in swapped.loader.released] == [2.0]  # type: ignore[attr-defined]


async def test_two_at_once_are_refused_and_a_caller_need_not_wait(swapped: Swapped) -> None:
    swapped.loader.gate.clear()
    begun = await swapped.put("two", wait=False)
    second = await swapped.put("three")

    assert (begun.status_code, begun.json()["swap"]["stage"]) == (202, "loading")
    assert (second.status_code, second.json()["code"]) == (409, "swap_under_way")
    assert (await swapped.reward())[0] == 1.0
    swapped.loader.gate.set()
    await until(lambda: swapped.state.version.scorer.profiles["safety"].digest == digest_of(2.0))


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (UnsafeCheckpoint("the config asks for code"), 422, UnsafeCheckpoint.code),
        (SwapRefused("not_enough_memory", "Too large.", 503), 503, "not_enough_memory"),
        (RuntimeError("torch says so"), 500, "load_failed"),
    ],
)
async def test_what_cannot_be_loaded_leaves_the_old_model_and_says_why(
    swapped: Swapped, error: Exception, status: int, code: str
) -> None:
    swapped.loader.error = error
    reply = await swapped.put("two")

    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert (await swapped.reward())[0] == 1.0
    assert (await swapped.status())["last"]["error"]["code"] == code
    swapped.loader.error = None
    assert (await swapped.put("two")).status_code == 200


async def test_a_load_without_end_is_given_up(tmp_path: Path) -> None:
    async with serving_numbers(tmp_path, swap_load_timeout_seconds=0.05) as swapped:
        swapped.loader.gate.clear()
        reply = await swapped.put("two")
        again = await swapped.put("two")

        assert (reply.status_code, reply.json()["code"]) == (503, "load_timeout")
        assert (again.status_code, again.json()["code"]) == (409, "load_hangs")
        assert (await swapped.reward())[0] == 1.0


async def test_a_model_that_nobody_asked_to_replace_must_not_change_with_it(
    swapped: Swapped,
) -> None:
    checkpoint(swapped.root, "three", 4.0)
    reply = await swapped.put("two")

    assert (reply.status_code, reply.json()["code"]) == (409, "other_model_changed")
    assert "helpfulness" in reply.json()["detail"]


async def test_a_hangup_loads_what_changed_and_nothing_else(swapped: Swapped) -> None:
    first = swapped.state.version
    swapped.state.swapper.reload_soon()
    assert (await swapped.status())["swap"] is None

    checkpoint(swapped.root, "one", 7.0)
    swapped.state.swapper.reload_soon()
    await until(lambda: swapped.state.version is not first)
    assert (await swapped.reward())[0] == 7.0


async def test_recent_traffic_is_compared_and_forgotten(swapped: Swapped) -> None:
    swapped.loader.gate.clear()
    swap = asyncio.create_task(swapped.put("two", shadow_items=3, min_order_agreement=0.5))
    await until(lambda: swapped.state.swapper.status().swap is not None)
    for number in range(5):
        await swapped.reward(f"text {number}")
    assert [item.text.response for item in swapped.state.swapper.recent.items] == [  # type: ignore[union-attr]
        "text 2",
        "text 3",
        "text 4",
    ]
    swapped.loader.gate.set()
    reply = await swap

    # Each model gives all texts the same reward: there is no pair with an order.
    assert (reply.status_code, reply.json()["code"]) == (409, "agreement_too_low")
    agreement = (await swapped.status())["last"]["agreement"]
    assert agreement["num_items"] == 3
    assert agreement["models"]["safety"]["max_difference"] == 1.0
    assert agreement["models"]["helpfulness"]["max_difference"] == 0.0
    assert len(swapped.state.swapper.recent) == 0


async def test_streams_of_replaced_models_say_so_until_they_are_reset(swapped: Swapped) -> None:
    body = {"stream": "run", "items": [{"prompt": "p", "response": r} for r in ("a", "b")]}

    async def warnings() -> list[str]:
        reply = await swapped.client.post("/ppo_reward", json=body)
        return list(reply.json()["statistics"]["warnings"])

    assert "statistics_of_replaced_models" not in await warnings()
    report = (await swapped.put("two")).json()
    assert report["streams"] == ["run"]
    assert "statistics_of_replaced_models" in await warnings()
    await swapped.client.delete("/streams/run")
    assert "statistics_of_replaced_models" not in await warnings()


async def test_a_retry_across_a_swap_is_given_the_first_reply_and_its_models(
    swapped: Swapped,
) -> None:
    headers = {"Idempotency-Key": "once"}
    ppo = {"stream": "run", "items": [{"prompt": "p", "response": "a"}]}
    dialect = {"query": "p a", "prompts": "p"}

    async def both() -> list[tuple[bytes, str]]:
        replies = [
            await swapped.client.post("/ppo_reward", json=ppo, headers=headers),
            await swapped.client.post(
                "/get_reward?reward=whitened",
                json={"query": ["p a"], "prompts": ["p"]},
                headers={"Idempotency-Key": "other"},
            ),
        ]
        assert [reply.status_code for reply in replies] == [200, 200], dialect
        return [(reply.content, reply.headers["X-Rewardd-Provenance"]) for reply in replies]

    first = await both()
    await swapped.put("two")
    assert await both() == first


async def test_lines_say_whose_they_are_where_the_header_no_longer_does(swapped: Swapped) -> None:
    told = swapped.state.version.provenance

    async def lines():  # type: ignore[no-untyped-def]
        yield b'{"prompt": "p", "response": "a"}\n'
        await until(lambda: swapped.state.scheduler.is_alive)
        await swapped.put("two")
        yield b'{"prompt": "p", "response": "b"}\n'

    reply = await swapped.client.post(
        "/score", content=lines(), headers={"Content-Type": "application/x-ndjson"}
    )
    first, second = (line for line in map(loads, reply.text.splitlines()))

    assert reply.headers["X-Rewardd-Provenance"] == told
    assert "provenance" in second
    assert second["safety"]["reward"] == 2.0
    assert (first["safety"]["reward"] == 2.0) == ("provenance" in first)


def loads(line: str) -> dict[str, dict[str, float]]:
    import json

    found = json.loads(line)
    assert isinstance(found, dict)
    assert not math.isnan(found["safety"]["reward"])
    return found
