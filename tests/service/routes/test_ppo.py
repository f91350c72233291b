"""POST /ppo_reward: what a reply says, what is refused, what the metrics and the document tell."""

import httpx
import pytest

from rm_client.models_ppo import PpoReply
from tests.fakes import FakeScorer
from tests.service.conftest import Start
from tests.service.routes.ppo_calls import post
from tests.service.scripted import response_item


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
    PpoReply.model_validate_json(reply.content, strict=True, extra="forbid")


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
    PpoReply.model_validate(mixed, strict=True, extra="forbid")


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


async def test_a_chat_is_judged_by_its_last_turn(client: httpx.AsyncClient) -> None:
    chat = [{"role": "user", "content": "h=1"}, {"role": "assistant", "content": "s=5 h=7"}]

    reply = await post(client, {"messages": chat}, whiten={"mode": "none"})

    assert reply.json()["items"][0]["logit"] == 7.0


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


async def test_clips_act_on_the_rewards_and_are_counted_and_measured(
    client: httpx.AsyncClient,
) -> None:
    """A log-ratio of −300, whose k3 float32 could not hold."""
    far = {"logprobs": [-300.0, -1.0], "ref_logprobs": [-0.0, -1.0]}
    items = [response_item(7.0, **far), response_item(1.0)]

    reply = await post(
        client,
        *items,
        beta=0.1,
        kl_estimator="k3",
        reward_clip="deepspeed_chat",
        whiten={"mode": "none"},
    )

    first, second = reply.json()["items"]
    assert (first["whitened"], first["kl"]) == (5.0, 10.0)
    assert first["token_rewards"] == [-1.0, 5.0]
    assert first["warnings"] == ["kl_clipped", "reward_clipped"]
    assert (second["whitened"], second["warnings"]) == (1.0, ["no_logprobs"])
    statistics = reply.json()["statistics"]
    assert (statistics["num_kl_clipped"], statistics["num_reward_clipped"]) == (1, 1)
    text = (await client.get("/metrics")).text
    for line in (
        "rm_ppo_kl_clipped_tokens_total 1.0",
        "rm_ppo_reward_clipped_total 1.0",
        "rm_ppo_kl_clamped_tokens_total 0.0",
    ):
        assert line in text, line


async def test_a_text_that_is_too_long_is_refused_or_cut_as_the_request_says(start: Start) -> None:
    item = {"prompt": "one two three", "response": "four five"}

    async with start(FakeScorer(max_length=4)) as service:
        refused = await post(service.client, item)
        cut = await post(service.client, item, truncate="prompt")

    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, "input_too_long")
    assert cut.json()["items"][0]["warnings"][0] == "truncated"


async def test_a_request_is_given_up_at_its_deadline(start: Start) -> None:
    async with start() as service:
        service.scorer.gate.clear()
        reply = await service.client.post(
            "/ppo_reward",
            json={"items": [{"prompt": "p", "response": "r"}]},
            headers={"X-Request-Timeout-Ms": "50"},
        )

    assert (reply.status_code, reply.json()["code"]) == (504, "deadline_exceeded")
