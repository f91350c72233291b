from pathlib import Path
from typing import Any

import httpx
import pytest

from rm_core.types import Baseline
from tests.service.scripted import ScriptedScorer, response_item, serving


async def add(client: httpx.AsyncClient, *rewards: float, stream: str = "run", **more: Any) -> Any:
    body = {"stream": stream, "items": [response_item(reward, **more) for reward in rewards]}
    reply = await client.post("/ppo_reward", json=body)
    assert reply.status_code == 200
    return reply.json()


async def test_what_was_read_can_be_sent_back_to_restore_it(client: httpx.AsyncClient) -> None:
    await add(client, 1.0, 3.0, 4.0)
    snapshot = (await client.get("/streams/run")).json()
    await add(client, 100.0, id="later")

    restored = (await client.put("/streams/run", json=snapshot)).json()
    again = (await client.put("/streams/run", json=snapshot)).json()

    assert again == restored
    assert {k: restored[k] for k in ("count", "mean", "m2", "std")} == {
        k: snapshot[k] for k in ("count", "mean", "m2", "std")
    }
    assert restored["generation"] == 1
    # what came after the snapshot counts again
    assert (await add(client, 100.0, id="later"))["statistics"]["num_merged"] == 1


async def test_a_snapshot_with_std_instead_of_m2(client: httpx.AsyncClient) -> None:
    reply = await client.put("/streams/run", json={"count": 101, "mean": 0.5, "std": 2.0})

    assert reply.status_code == 200
    assert (reply.json()["m2"], reply.json()["std"]) == (400.0, 2.0)
    whitened = await add(client, 0.5)
    assert whitened["items"][0]["whitened"] == pytest.approx(0.0, abs=1e-12)


async def test_a_reset_goes_back_to_the_checkpoints_baseline(tmp_path: Path) -> None:
    scorer = ScriptedScorer(
        model_names=("helpfulness",), baselines={"helpfulness": Baseline(0.5, 2.0, 64.0)}
    )
    async with serving(tmp_path, scorer) as client:
        await add(client, 1.0, 3.0, id="a")
        reply = (await client.delete("/streams/run")).json()

        assert (reply["count"], reply["mean"], reply["std"]) == (64.0, 0.5, 2.0)
        assert (reply["num_samples"], reply["generation"]) == (0, 1)
        assert (await add(client, 1.0, id="a"))["statistics"]["num_merged"] == 1


async def test_a_stream_can_be_forgotten_altogether(client: httpx.AsyncClient) -> None:
    await add(client, 1.0, 3.0)

    reply = await client.delete("/streams/run", params={"forget": "true"})

    assert (reply.status_code, reply.content) == (204, b"")
    assert (await client.get("/streams/run")).status_code == 404
    assert 'stream="run"' not in (await client.get("/metrics")).text


@pytest.mark.parametrize("name", ["a%20b", "x" * 65, "%C3%A9", "a%0A"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_name_that_none_can_have_is_refused(
    client: httpx.AsyncClient, method: str, name: str
) -> None:
    body = {"json": {}} if method == "PUT" else {}
    reply = await client.request(method, f"/streams/{name}", **body)

    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_stream_name")


@pytest.mark.parametrize("name", ["..%2f..%2fetc", "a%2Fb"])
async def test_a_path_in_a_name_leads_nowhere(client: httpx.AsyncClient, name: str) -> None:
    assert (await client.get(f"/streams/{name}")).status_code in (404, 422)


@pytest.mark.parametrize(
    "wrong", [b'{"count": 5}', b"[]", b"{", b'{"count": NaN}', b'{"count": "5"}', b""]
)
async def test_a_wrong_snapshot_is_refused_and_changes_nothing(
    client: httpx.AsyncClient, wrong: bytes
) -> None:
    await add(client, 1.0)
    before = (await client.get("/streams/run")).json()

    reply = await client.put(
        "/streams/run", content=wrong, headers={"content-type": "application/json"}
    )

    assert 400 <= reply.status_code < 500
    assert reply.headers["content-type"] == "application/problem+json"
    assert (await client.get("/streams/run")).json() == before


async def test_a_stream_that_forgets_comes_back_from_its_own_reply(
    client: httpx.AsyncClient,
) -> None:
    await client.put("/streams/run", json={"half_life": 3.0})
    await add(client, 1.0, 3.0, 8.0)
    kept = (await client.get("/streams/run")).json()
    await add(client, 50.0)

    restored = (await client.put("/streams/run", json=kept)).json()
    again = (await client.put("/streams/run", json=kept)).json()

    assert kept["degrees_of_freedom"] == pytest.approx(kept["m2"] / kept["std"] ** 2, rel=1e-12)
    for name in ("count", "mean", "m2", "degrees_of_freedom", "std", "half_life"):
        assert restored[name] == kept[name]
    assert again == restored


async def test_a_deviation_is_restored_by_the_degrees_of_freedom_that_come_with_it(
    client: httpx.AsyncClient,
) -> None:
    snapshot = {"count": 3.0, "mean": 1.0, "std": 2.0, "degrees_of_freedom": 1.5}

    reply = (await client.put("/streams/run", json=snapshot)).json()

    assert (reply["m2"], reply["std"]) == (6.0, 2.0)


async def test_configuring_a_stream_keeps_its_statistics(client: httpx.AsyncClient) -> None:
    await add(client, 1.0, 3.0)

    reply = (await client.put("/streams/run", json={"frozen": True, "half_life": 100.0})).json()

    assert (reply["count"], reply["mean"], reply["generation"]) == (2.0, 2.0, 0)
    assert (reply["frozen"], reply["half_life"]) == (True, 100.0)
    assert (await add(client, 9.0))["statistics"]["num_merged"] == 0
