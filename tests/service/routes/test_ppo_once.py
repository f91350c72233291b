"""A sample counts once, whoever sends it again and however many send at the same time."""

import asyncio
from typing import Any

import httpx

from rm_core.rewards import merge, statistics_of, whiten
from tests.service.routes.ppo_calls import count_of, post
from tests.service.scripted import ScriptedScorer, response_item


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


async def test_twins_at_the_same_time_count_once_and_get_the_same_bytes(
    client: httpx.AsyncClient, scorer: ScriptedScorer
) -> None:
    replies = await asyncio.gather(*(post(client, response_item(1.0), key="k") for _ in range(8)))

    assert {reply.content for reply in replies} == {replies[0].content}
    assert sum("Idempotency-Replayed" in reply.headers for reply in replies) == 7
    assert await count_of(client) == 1
    assert scorer.num_scored == 1


async def test_a_request_of_known_ids_alone_leaves_the_version(client: httpx.AsyncClient) -> None:
    await post(client, response_item(1.0, id="a"), response_item(2.0, id="b"))

    reply = (await post(client, response_item(1.0, id="a"))).json()

    assert reply["statistics"]["version"] == 1


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


async def test_the_same_id_with_another_text_is_a_conflict_and_no_duplicate(
    client: httpx.AsyncClient,
) -> None:
    await post(client, response_item(1.0, id="a"))

    reply = (await post(client, response_item(5.0, id="a"), response_item(2.0, id="b"))).json()
    alone = await post(client, response_item(5.0, id="a"))
    same = (await post(client, response_item(1.0, id="a"))).json()

    error = reply["items"][0]["error"]
    assert (error["code"], error["pointer"]) == ("item_id_conflict", "/items/0/id")
    assert reply["items"][1]["logit"] == 2.0
    assert (reply["statistics"]["count"], reply["statistics"]["num_duplicates"]) == (2.0, 0)
    assert (alone.status_code, alone.json()["errors"][0]["code"]) == (422, "item_id_conflict")
    assert "already_counted" in same["items"][0]["warnings"]
    assert await count_of(client) == 2


async def test_two_texts_under_one_id_in_one_request_are_a_conflict(
    client: httpx.AsyncClient,
) -> None:
    items = [response_item(value, id="a") for value in (1.0, 5.0, 1.0)]

    reply = (await post(client, *items)).json()

    assert ["error" in item for item in reply["items"]] == [False, True, False]
    assert reply["items"][2]["warnings"][-1] == "already_counted"
    assert await count_of(client) == 1


async def test_what_another_policy_thinks_of_it_is_no_other_text(
    client: httpx.AsyncClient,
) -> None:
    first = response_item(1.0, id="a", logprobs=[-1.0], ref_logprobs=[-1.0])
    await post(client, first)
    later = response_item(1.0, id="a", logprobs=[-2.0], ref_logprobs=[-1.0], finished=True)

    reply = (await post(client, later)).json()

    assert "already_counted" in reply["items"][0]["warnings"]
