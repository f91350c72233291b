"""Which statistics whiten the rewards of a request, and which streams it changes."""

from pathlib import Path

import httpx
import pytest

from rm_client.models_ppo import PpoReply
from rm_core.rewards import from_baseline, merge, statistics_of, whiten
from rm_core.types import Baseline
from tests.service.routes.ppo_calls import count_of, post
from tests.service.scripted import ScriptedScorer, response_item, serving


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
        "num_kl_clipped": 0,
        "num_reward_clipped": 0,
        "warnings": [],
    }


async def test_the_same_samples_give_the_same_statistics_however_they_are_cut(
    client: httpx.AsyncClient,
) -> None:
    values = [3.0, -1.0, 4.0, 1.0, -5.0, 9.0, 2.0, 6.0]
    whitening = {"baseline": {"mean": 0.0, "std": 2.0, "weight": 10.0}, "half_life": 3.0}
    for stream, size in (("whole", 8), ("odd", 3), ("single", 1)):
        for start in range(0, len(values), size):
            items = [response_item(x) for x in values[start : start + size]]
            await post(client, *items, stream=stream, whiten=whitening)

    whole, *others = [
        (await client.get(f"/streams/{name}")).json() for name in ("whole", "odd", "single")
    ]

    assert whole["count"] == pytest.approx(
        10 * 2 ** (-8 / 3) + sum(2 ** (-k / 3) for k in range(8)), rel=1e-12
    )
    for other in others:
        for name in ("count", "mean", "m2", "degrees_of_freedom", "std", "num_samples"):
            assert other[name] == pytest.approx(whole[name], rel=1e-12), name


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


async def test_a_new_stream_starts_from_nothing_where_the_request_says_so(tmp_path: Path) -> None:
    own = Baseline(mean=1.0, std=2.0, weight=50.0)
    scorer = ScriptedScorer(baselines={"safety": own, "helpfulness": own})

    async with serving(tmp_path, scorer) as client:
        reply = (await post(client, response_item(3.0), whiten={"baseline": None})).json()

    assert (reply["statistics"]["count"], reply["statistics"]["mean"]) == (1.0, 3.0)


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
    PpoReply.model_validate(group, strict=True, extra="forbid")


async def test_the_mean_stays_where_it_was_if_the_request_says_so(
    client: httpx.AsyncClient,
) -> None:
    reply = await post(
        client,
        *[response_item(x) for x in (1.0, 3.0)],
        whiten={"mode": "batch", "shift_mean": False},
    )

    assert [item["whitened"] for item in reply.json()["items"]] == pytest.approx(
        [2.0 - 0.5**0.5, 2.0 + 0.5**0.5]
    )


async def test_items_say_themselves_which_of_them_are_a_group(client: httpx.AsyncClient) -> None:
    """Responses to one prompt apart, responses to different prompts together."""
    items = [
        response_item(1.0, group="a"),
        response_item(9.0, group=7),
        {"prompt": "q", "response": "s=5 h=3", "group": "a"},
    ]

    reply = (await post(client, *items, whiten={"mode": "group"})).json()

    assert [item["whitened"] for item in reply["items"]] == pytest.approx(
        [-(0.5**0.5), 0.0, 0.5**0.5]
    )
    assert [(own["group"], own["items"]) for own in reply["statistics"]["groups"]] == [
        ("a", [0, 2]),
        (7, [1]),
    ]


async def test_frozen_on_an_unknown_stream_is_a_404(client: httpx.AsyncClient) -> None:
    reply = await post(client, response_item(1.0), stream="nowhere", whiten={"mode": "frozen"})

    assert reply.status_code == 404
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["code"] == "unknown_stream"
