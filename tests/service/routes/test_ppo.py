import asyncio
import json
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rm_core.rewards import from_baseline, merge, statistics_of, whiten
from rm_core.types import Baseline
from service.schemas_ppo import PpoReply, PpoRequest
from tests.service.scripted import ScriptedScorer, response_item, serving


@pytest.fixture
def scorer() -> ScriptedScorer:
    return ScriptedScorer()


@pytest.fixture
async def client(tmp_path: Path, scorer: ScriptedScorer) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(tmp_path, scorer) as client:
        yield client


async def post(client: httpx.AsyncClient, *items: Any, key: str | None = None, **more: Any) -> Any:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await client.post("/ppo_reward", json={"items": items, **more}, headers=headers)


async def count_of(client: httpx.AsyncClient, stream: str = "default") -> int:
    reply = await client.get(f"/streams/{stream}")
    return int(reply.json()["num_samples"]) if reply.status_code == 200 else 0


async def test_a_reply_shows_every_step(client: httpx.AsyncClient) -> None:
    item = {
        "prompt": "p",
        "response": "s=-3 h=2",
        "logprobs": [-0.5, -1.25, -1.0],
        "ref_logprobs": [-1.0, -1.0, -2.0],
        "id": "a",
        "finished": False,
    }

    reply = await post(client, item, beta=0.1, missing_eos_penalty=0.5, whiten={"mode": "none"})

    assert reply.status_code == 200
    (found,) = reply.json()["items"]
    assert found["safety"] == {"reward": -3.0, "score": pytest.approx(0.04742587317756678)}
    assert found["helpfulness"] == {"reward": 2.0, "score": pytest.approx(0.8807970779778823)}
    assert (found["id"], found["selected"], found["logit"]) == ("a", "safety", -3.0)
    assert found["whitened"] == -3.0
    assert found["kl"] == pytest.approx(1.25)
    assert found["penalty"] == pytest.approx(0.125)
    assert found["missing_eos_penalty"] == 0.5
    assert found["token_rewards"] == pytest.approx([-0.05, 0.025, -3.6])
    assert found["reward"] == pytest.approx(-3.625)
    assert found["num_tokens"] == 8
    PpoReply.model_validate_json(reply.content)


async def test_the_rule_is_strict_at_exactly_tau(client: httpx.AsyncClient) -> None:
    at_tau, below = math.log(0.15 / 0.85), math.nextafter(math.log(0.15 / 0.85), -2.0) - 1e-15

    reply = await post(
        client,
        {"prompt": "p", "response": f"s={at_tau!r} h=9"},
        {"prompt": "p", "response": f"s={below!r} h=9"},
        {"prompt": "p", "response": "s=9 h=1", "is_safety": True},
        whiten={"mode": "none"},
    )

    assert [item["selected"] for item in reply.json()["items"]] == [
        "helpfulness",
        "safety",
        "safety",
    ]


@pytest.mark.parametrize("reward", [-1e4, -40.0, 40.0, 1e4])
async def test_saturated_scores_leave_the_logit_whole(
    client: httpx.AsyncClient, reward: float
) -> None:
    reply = await post(client, response_item(reward), whiten={"mode": "none"})

    assert reply.json()["items"][0]["logit"] == reward


async def test_running_merges_this_request_first_and_then_uses_it(
    client: httpx.AsyncClient,
) -> None:
    await post(client, *[response_item(x) for x in (1.0, 2.0)])
    reply = await post(client, *[response_item(x) for x in (6.0, 7.0)])

    expected = merge(statistics_of([1.0, 2.0]), statistics_of([6.0, 7.0]))
    body = reply.json()
    assert [item["whitened"] for item in body["items"]] == pytest.approx(
        whiten([6.0, 7.0], expected).values.tolist()
    )
    assert body["statistics"] == {
        "mode": "running",
        "stream": "default",
        "count": 4.0,
        "mean": expected.mean,
        "std": expected.std,
        "version": 2,
        "generation": 0,
        "scaled": True,
        "num_merged": 2,
        "num_duplicates": 0,
    }


async def test_without_a_baseline_the_first_value_passes_and_the_reply_says_so(
    client: httpx.AsyncClient,
) -> None:
    first = (await post(client, response_item(5.0))).json()
    second = (await post(client, response_item(6.0))).json()

    assert first["items"][0]["whitened"] == 5.0
    assert "unscaled" in first["items"][0]["warnings"]
    assert (first["statistics"]["scaled"], first["statistics"]["std"]) == (False, None)
    assert second["statistics"]["scaled"]
    assert "unscaled" not in second["items"][0]["warnings"]


async def test_a_new_stream_starts_from_both_checkpoints_baselines(tmp_path: Path) -> None:
    scorer = ScriptedScorer(
        baselines={
            "safety": Baseline(mean=1.0, std=2.0, weight=50.0),
            "helpfulness": Baseline(mean=-1.0, std=1.0, weight=150.0),
        }
    )
    start = merge(from_baseline(1.0, 2.0, 50.0), from_baseline(-1.0, 1.0, 150.0))

    async with serving(tmp_path, scorer) as client:
        reply = (await post(client, response_item(3.0))).json()

    expected = merge(start, statistics_of([3.0]))
    assert reply["statistics"]["count"] == 201.0
    assert reply["statistics"]["std"] == pytest.approx(expected.std)
    assert reply["items"][0]["whitened"] == pytest.approx(whiten([3.0], expected).values[0])


async def test_a_model_without_a_baseline_leaves_the_stream_without_one(tmp_path: Path) -> None:
    scorer = ScriptedScorer(baselines={"safety": Baseline(mean=1.0, std=2.0, weight=50.0)})

    async with serving(tmp_path, scorer) as client:
        reply = (await post(client, response_item(3.0))).json()

    assert reply["statistics"]["count"] == 1.0


async def test_a_request_may_bring_the_baseline_of_the_stream_that_it_creates(
    client: httpx.AsyncClient,
) -> None:
    whitening = {"baseline": {"mean": 0.0, "std": 2.0, "weight": 100.0}, "half_life": 500.0}

    reply = (await post(client, response_item(3.0), whiten=whitening)).json()

    assert reply["statistics"]["count"] == pytest.approx(100.0 * 2.0 ** (-1.0 / 500.0) + 1.0)
    assert (await client.get("/streams/default")).json()["half_life"] == 500.0


async def test_update_false_uses_the_stream_and_leaves_it_alone(client: httpx.AsyncClient) -> None:
    await post(client, *[response_item(x) for x in (1.0, 3.0)])
    before = (await client.get("/streams/default")).json()

    reply = (await post(client, response_item(50.0), whiten={"update": False})).json()

    assert reply["items"][0]["whitened"] == pytest.approx(48.0 / (2.0 + 1e-8) ** 0.5)
    assert reply["statistics"]["num_merged"] == 0
    assert (await client.get("/streams/default")).json() == before


async def test_update_false_creates_no_stream(client: httpx.AsyncClient) -> None:
    await post(client, response_item(1.0), whiten={"update": False})

    assert (await client.get("/streams")).json() == {"streams": []}


async def test_frozen_on_an_unknown_stream_is_a_404(client: httpx.AsyncClient) -> None:
    reply = await post(client, response_item(1.0), stream="nowhere", whiten={"mode": "frozen"})

    assert reply.status_code == 404
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["code"] == "unknown_stream"


async def test_a_frozen_stream_is_used_and_not_updated(client: httpx.AsyncClient) -> None:
    await client.put("/streams/run", json={"count": 100, "mean": 2.0, "std": 2.0, "frozen": True})

    for mode in ("running", "frozen"):
        reply = await post(client, response_item(4.0), stream="run", whiten={"mode": mode})
        assert reply.json()["items"][0]["whitened"] == pytest.approx(1.0)

    assert await count_of(client, "run") == 0


async def test_batch_and_group_touch_no_stream(client: httpx.AsyncClient) -> None:
    items = [response_item(1.0), response_item(3.0), {"prompt": "q", "response": "s=5 h=9"}]

    batch = (await post(client, *items, whiten={"mode": "batch"})).json()
    group = (await post(client, *items, whiten={"mode": "group"})).json()

    assert batch["statistics"]["count"] == 3.0
    assert batch["statistics"]["stream"] is None
    assert [item["whitened"] for item in group["items"]] == pytest.approx(
        [-(0.5**0.5), 0.5**0.5, 0.0]
    )
    assert group["statistics"]["groups"] == [
        {"group": None, "items": [0, 1], "count": 2, "mean": 2.0, "std": pytest.approx(2**0.5)},
        {"group": None, "items": [2], "count": 1, "mean": 9.0, "std": None},
    ]
    assert (await client.get("/streams")).json() == {"streams": []}
    PpoReply.model_validate(group)


async def test_bad_items_fail_alone_and_never_enter_the_statistics(
    client: httpx.AsyncClient,
) -> None:
    good = [response_item(1.0, id="a"), response_item(3.0, id="b")]
    bad = [
        response_item("nan"),
        response_item("inf"),
        {"prompt": "p", "response": "   "},
        {"prompt": "p"},
        response_item(9.0, logprobs=[-1.0, -2.0], ref_logprobs=[-1.0]),
        response_item(9.0, logprobs=[-1.0], ref_logprobs=[-1.0], mask=[0]),
        response_item(9.0, logprobs=[-1.0]),
    ]
    alone = (await post(client, *good, stream="alone")).json()

    mixed = (await post(client, good[0], *bad, good[1], stream="mixed")).json()

    assert [mixed["items"][0], mixed["items"][-1]] == alone["items"]
    assert mixed["statistics"] == {**alone["statistics"], "stream": "mixed"}
    assert [item["error"]["code"] for item in mixed["items"][1:-1]] == [
        "nonfinite_reward",
        "nonfinite_reward",
        "empty_text",
        "missing_field",
        "shape_mismatch",
        "invalid_item",
        "missing_logprobs",
    ]
    assert mixed["items"][5]["error"]["pointer"] == "/items/5/ref_logprobs"
    PpoReply.model_validate(mixed)


async def test_a_bad_helpfulness_reward_that_is_not_selected_follows_the_service_rule(
    client: httpx.AsyncClient,
) -> None:
    reply = await post(client, {"prompt": "p", "response": "s=nan h=1"}, response_item(1.0))

    assert "error" in reply.json()["items"][0]
    assert reply.json()["statistics"]["num_merged"] == 1


@pytest.mark.parametrize(
    "body",
    [
        b'{"items": []}',
        b'{"items": [{"prompt": "p"}]}',
        b'{"items": [{"prompt": "p", "response": "h=1", "logprobs": [NaN], "ref_logprobs": [1]}]}',
        b'{"items": [{"prompt": "p", "response": "h=1"}], "beta": -1}',
        b'{"items": [{"prompt": "p", "response": "h=1"}], "stream": "../etc"}',
        b'{"items": [{"prompt": "p", "response": "h=1"}], "beta": 1e999}',
        b'{"items": [{"prompt": "p", "response": "\\ud800 h=1"}]}',
        b'{"items": [{"prompt": "p", "response": "h=1", "logprobs": [1,2], "ref_logprobs": [1]}]}',
        b"[" * 250_000,
        b'"text"',
        b"",
    ],
)
async def test_bad_requests_are_4xx_problems_and_change_nothing(
    client: httpx.AsyncClient, body: bytes
) -> None:
    reply = await client.post(
        "/ppo_reward",
        content=body,
        headers={"content-type": "application/json", "idempotency-key": "k"},
    )

    assert 400 <= reply.status_code < 500, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    assert (await client.get("/streams")).json() == {"streams": []}
    # nothing is remembered of a request that was refused: its key is free
    again = await post(client, response_item(1.0), key="k")
    assert again.status_code == 200


async def test_the_same_key_and_body_give_the_same_bytes_and_count_once(
    client: httpx.AsyncClient, scorer: ScriptedScorer
) -> None:
    first = await post(client, response_item(1.0), key="k")
    await post(client, response_item(2.0))
    again = await post(client, response_item(1.0), key="k")

    assert again.content == first.content
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert await count_of(client) == 2
    assert scorer.num_scored == 2


async def test_the_same_key_with_another_body_is_refused(client: httpx.AsyncClient) -> None:
    await post(client, response_item(1.0), key="k")

    reply = await post(client, response_item(2.0), key="k")

    assert (reply.status_code, reply.json()["code"]) == (422, "idempotency_conflict")
    assert await count_of(client) == 1


async def test_twins_at_the_same_time_count_once_and_get_the_same_bytes(
    client: httpx.AsyncClient, scorer: ScriptedScorer
) -> None:
    replies = await asyncio.gather(*(post(client, response_item(1.0), key="k") for _ in range(8)))

    assert {reply.content for reply in replies} == {replies[0].content}
    assert sum("Idempotency-Replayed" in reply.headers for reply in replies) == 7
    assert await count_of(client) == 1
    assert scorer.num_scored == 1


async def test_a_key_outlives_a_restart(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        first = await post(client, response_item(1.0), key="k")
    async with serving(tmp_path) as client:
        again = await post(client, response_item(1.0), key="k")
        assert await count_of(client) == 1

    assert again.content == first.content


async def test_an_id_counts_once_in_its_stream_also_across_requests(
    client: httpx.AsyncClient,
) -> None:
    await post(client, response_item(1.0, id="a"), response_item(9.0, id="a"))
    reply = (await post(client, response_item(9.0, id="a"), response_item(3.0, id="b"))).json()

    assert reply["statistics"]["count"] == 2.0
    assert reply["statistics"]["mean"] == 2.0
    assert (reply["statistics"]["num_merged"], reply["statistics"]["num_duplicates"]) == (1, 1)
    assert "already_counted" in reply["items"][0]["warnings"]
    assert await count_of(client) == 2
    await post(client, response_item(9.0, id="a"), stream="other")
    assert await count_of(client, "other") == 1


async def test_a_request_of_known_ids_alone_leaves_the_version(client: httpx.AsyncClient) -> None:
    await post(client, response_item(1.0, id="a"), response_item(2.0, id="b"))

    reply = (await post(client, response_item(1.0, id="a"))).json()

    assert reply["statistics"]["version"] == 1


async def test_a_chat_is_judged_by_its_last_turn(client: httpx.AsyncClient) -> None:
    chat = [{"role": "user", "content": "h=1"}, {"role": "assistant", "content": "s=5 h=7"}]

    reply = await post(client, {"messages": chat}, whiten={"mode": "none"})

    assert reply.json()["items"][0]["logit"] == 7.0


async def test_with_one_model_the_reward_is_its_own(tmp_path: Path) -> None:
    async with serving(tmp_path, ScriptedScorer(roles=("helpfulness",))) as client:
        reply = (await post(client, response_item(2.5), whiten={"mode": "none"})).json()

    assert reply["items"][0]["selected"] == "helpfulness"
    assert "safety" not in reply["items"][0]


async def test_writers_at_the_same_time_leave_what_their_order_of_commits_says(
    client: httpx.AsyncClient,
) -> None:
    async def writer(number: int) -> list[Any]:
        made = []
        for step in range(4):
            values = [number + 0.25 * step, -1.5 * number]
            reply = await post(client, *[response_item(x) for x in values], key=f"{number}/{step}")
            made.append((reply.json(), values))
        return made

    everything = [one for own in await asyncio.gather(*map(writer, range(32))) for one in own]

    serial = statistics_of([])
    for reply, values in sorted(everything, key=lambda one: one[0]["statistics"]["version"]):
        serial = merge(serial, statistics_of(values))
        assert (reply["statistics"]["count"], reply["statistics"]["mean"]) == serial[:2]
        assert [item["whitened"] for item in reply["items"]] == (
            whiten(values, serial).values.tolist()
        )
    assert await count_of(client) == 256


async def test_the_metrics_tell_what_happened(client: httpx.AsyncClient) -> None:
    item = response_item(2.0, id="a", logprobs=[-1.0], ref_logprobs=[-1.5])
    await post(client, item, response_item("nan"), key="k")
    await post(client, item, response_item("nan"), key="k")
    await post(client, response_item(5.0), key="k")
    await post(client, item)
    await post(client, response_item(1.0), whiten={"update": False})

    text = (await client.get("/metrics")).text
    for line in (
        'rm_whiten_updates_total{result="applied"} 1.0',
        'rm_whiten_updates_total{result="duplicate"} 1.0',
        'rm_whiten_updates_total{result="nonfinite"} 1.0',
        'rm_whiten_updates_total{result="not_requested"} 1.0',
        'rm_whiten_updates_total{result="frozen"} 0.0',
        "rm_whiten_items_applied_total 1.0",
        'rm_idempotency_total{result="new"} 1.0',
        'rm_idempotency_total{result="replayed"} 1.0',
        'rm_idempotency_total{result="conflict"} 1.0',
        "rm_idempotency_entries 1.0",
        'rm_whiten_count{stream="default"} 1.0',
        "rm_ppo_kl_nats_count 2.0",
        "rm_ppo_kl_coef 0.01",
        'rm_selection_total{branch="helpfulness",route="/ppo_reward"} 3.0',
    ):
        assert line in text, line


async def test_the_documentation_names_the_route_and_its_examples_work(
    client: httpx.AsyncClient,
) -> None:
    operation = (await client.get("/openapi.json")).json()["paths"]["/ppo_reward"]["post"]

    assert {"Idempotency-Key"} <= {parameter["name"] for parameter in operation["parameters"]}
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    for example in examples.values():
        PpoRequest.model_validate(example["value"])
        reply = await client.post(
            "/ppo_reward",
            content=json.dumps(example["value"]),
            headers={"content-type": "application/json"},
        )
        assert reply.status_code == 200
        PpoReply.model_validate_json(reply.content)
