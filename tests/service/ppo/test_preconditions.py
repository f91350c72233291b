import hashlib

import pytest

from tests.service.scripted import response_item

SAFETY = hashlib.sha256(b"safety").hexdigest()
HELPFULNESS = hashlib.sha256(b"helpfulness").hexdigest()


async def ask(client, expected, mode="running", stream="r"):
    body = {
        "items": [response_item(1.0)],
        "stream": stream,
        "whiten": {"mode": mode},
        "expect_version": expected,
    }
    return await client.post("/ppo_reward", json=body)


@pytest.mark.parametrize(
    "expected",
    [
        {},
        {"safety": SAFETY},
        {"safety": SAFETY[:16], "helpfulness": HELPFULNESS[:8]},
        {"stream": 0, "generation": 0},
    ],
)
async def test_what_is_as_expected_is_answered(client, expected):
    assert (await ask(client, expected)).status_code == 200


@pytest.mark.parametrize(
    ("expected", "pointers"),
    [
        ({"safety": HELPFULNESS}, ["safety"]),
        ({"safety": "0" * 64, "helpfulness": "0" * 64}, ["safety", "helpfulness"]),
        ({"stream": 3}, ["stream"]),
        ({"stream": 0, "generation": 1}, ["generation"]),
    ],
)
async def test_what_is_not_is_refused_and_counts_nothing(client, expected, pointers):
    reply = await ask(client, expected)

    assert reply.status_code == 412
    found = [error["pointer"] for error in reply.json()["errors"]]
    assert found == [f"/expect_version/{name}" for name in pointers]
    assert (await client.get("/streams/r")).status_code == 404


async def test_a_stream_moves_on_and_only_its_present_version_is_accepted(client):
    first = await ask(client, {"stream": 0})
    version = first.json()["statistics"]["version"]

    assert (await ask(client, {"stream": 0})).status_code == 412
    assert (await ask(client, {"stream": version})).status_code == 200
    await client.delete("/streams/r")
    assert (await ask(client, {"generation": 0})).status_code == 412
    assert (await ask(client, {"generation": 1}, mode="frozen")).status_code == 200
    for expected in ({"generation": 0}, {"stream": version}):
        assert (await ask(client, expected, mode="frozen")).status_code == 412


async def test_without_a_stream_no_version_of_one_is_as_expected(client):
    assert (await ask(client, {"stream": 0}, mode="none")).status_code == 412
    assert (await ask(client, {"safety": SAFETY}, mode="batch")).status_code == 200


async def test_a_retry_of_what_was_counted_is_answered_though_the_stream_has_moved(client):
    body = {"items": [response_item(1.0)], "stream": "r", "expect_version": {"stream": 0}}
    replies = [
        await client.post("/ppo_reward", json=body, headers={"Idempotency-Key": "k"})
        for _ in range(2)
    ]

    assert [reply.status_code for reply in replies] == [200, 200]
    assert replies[0].content == replies[1].content


@pytest.mark.parametrize(
    "expected", [{"safety": "xyz"}, {"safety": "abc"}, {"stream": -1}, {"model": SAFETY}]
)
async def test_an_expectation_that_can_be_none_is_told(client, expected):
    assert (await ask(client, expected)).status_code == 422
