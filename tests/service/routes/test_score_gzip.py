"""Gzipped NDJSON is answered as the same lines uncompressed."""

import gzip
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

HEADERS = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}


def lines(reply: Any) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in reply.content.splitlines()]


def items(count: int) -> bytes:
    return b"".join(
        orjson.dumps({"prompt": "p", "response": f"r{i}"}) + b"\n" for i in range(count)
    )


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
async def test_gzipped_lines_have_the_answers_of_plain_ones(service, encoding):
    body = items(300) + b"{nonsense\n"
    plain = await service.client.post(
        "/score", content=body, headers={"Content-Type": HEADERS["Content-Type"]}
    )
    zipped = await service.client.post(
        "/score", content=gzip.compress(body), headers={**HEADERS, "Content-Encoding": encoding}
    )

    assert zipped.status_code == 200
    assert zipped.content == plain.content
    assert len(lines(zipped)) == 301


async def test_a_gzipped_body_streams_through_whatever_the_chunks(start):
    body = gzip.compress(items(500))

    async def chunks() -> AsyncIterator[bytes]:
        for start_at in range(0, len(body), 7):
            yield body[start_at : start_at + 7]

    async with start(max_body_bytes=1024, max_items=1) as service:
        found = lines(await service.client.post("/score", content=chunks(), headers=HEADERS))

    assert [line["index"] for line in found] == list(range(500))
    assert not any("error" in line for line in found)


async def test_a_line_is_bounded_after_it_is_inflated(start):
    long = orjson.dumps({"prompt": "p", "response": "x" * 5000})
    async with start(max_body_bytes=1024) as service:
        reply = await service.client.post(
            "/score", content=gzip.compress(long + b"\n" + items(1)), headers=HEADERS
        )

    first, second = lines(reply)
    assert first["error"]["code"] == "line_too_long"
    assert "error" not in second


async def test_where_the_gzip_breaks_the_reply_says_so_after_what_was_good(service):
    body = gzip.compress(items(3)) + gzip.compress(items(50))[:-20]
    found = lines(await service.client.post("/score?first_index=10", content=body, headers=HEADERS))

    assert [line["index"] for line in found] == list(range(10, 10 + len(found)))
    assert len(found) >= 4
    assert not any("error" in line for line in found[:-1])
    assert found[-1]["error"]["code"] == "truncated_gzip"


async def test_a_bomb_is_cut_off_and_the_server_goes_on(service):
    bomb = gzip.compress(b"x" * (64 * 1024 * 1024))
    *_, last = lines(await service.client.post("/score", content=bomb, headers=HEADERS))

    assert last["error"]["code"] == "compression_bomb"
    after = await service.client.post("/score", json={"prompt": "p", "response": "r"})
    assert after.status_code == 200


async def test_other_compressions_and_gzipped_json_are_refused_with_what_is_read(service):
    for headers, accepted in (
        ({**HEADERS, "Content-Encoding": "br"}, "gzip, identity"),
        ({**HEADERS, "Content-Type": "application/json"}, "identity"),
    ):
        reply = await service.client.post("/score", content=b"x", headers=headers)

        assert reply.status_code == 415
        assert reply.json()["code"] == "unsupported_encoding"
        assert reply.headers["accept-encoding"] == accepted
