import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import Request

from rm_client.models import CompareItem, ResponseItem, score_item_model
from service.connections.unfinished import UnfinishedBodies
from service.http.body import (
    MAX_CONTAINERS,
    num_containers,
    parse_json,
    read_body,
    require_one_success,
    unwrap,
    validate_items,
)
from service.problems import Problem
from service.results import ItemFailure
from service.schemas.score import ScoreEnvelope


def bodies(max_bytes: int = 4, seconds: float = 1.0) -> UnfinishedBodies:
    limits: Any = SimpleNamespace(
        max_body_bytes=max_bytes,
        max_unfinished_body_bytes=100,
        body_timeout_seconds=seconds,
        min_body_bytes_per_second=0.0,
    )
    return UnfinishedBodies(limits)


def request(*chunks: bytes, declared: bytes | None = None, silent: bool = False) -> Any:
    messages = [
        {"type": "http.request", "body": chunk, "more_body": i + 1 < len(chunks)}
        for i, chunk in enumerate(chunks)
    ]
    taken: list[int] = []

    async def receive() -> Any:
        if silent:
            await asyncio.Event().wait()
        taken.append(1)
        return messages.pop(0)

    headers = [] if declared is None else [(b"content-length", declared)]
    made = Request({"type": "http", "method": "POST", "headers": headers}, receive)
    return made, taken


async def test_a_body_is_read_whole():
    made, _ = request(b"ab", b"", b"cd")

    assert await read_body(made, bodies()) == b"abcd"


@pytest.mark.parametrize("declared", [b"5", b"100000000", b"9" * 5000])
async def test_a_declared_size_is_refused_before_anything_is_read(declared):
    made, taken = request(b"ab", declared=declared)

    with pytest.raises(Problem) as refused:
        await read_body(made, bodies())

    assert refused.value.status == 413
    assert taken == []


@pytest.mark.parametrize("declared", [None, b"1", b"-5", b"x", "²".encode()])
async def test_bytes_are_counted_whatever_was_declared(declared):
    made, taken = request(b"abc", b"de", b"more", b"more", declared=declared)

    with pytest.raises(Problem) as refused:
        await read_body(made, bodies())

    assert refused.value.status == 413
    assert len(taken) == 2


async def test_a_body_that_does_not_arrive_is_given_up():
    made, _ = request(silent=True)

    with pytest.raises(Problem) as refused:
        await read_body(made, bodies(seconds=0.01))

    assert refused.value.status == 408


@pytest.mark.parametrize("kind", [b"[]", b"{}", b'{"":0}', b'{"[":[]}'])
def test_a_body_of_containers_alone_is_refused_before_they_are_made(kind: bytes):
    body = b'{"items":[' + b",".join([kind] * (MAX_CONTAINERS + 1)) + b"]}"

    with pytest.raises(Problem) as refused:
        parse_json(body)

    assert (refused.value.status, refused.value.code) == (413, "too_many_values")


@pytest.mark.parametrize(
    "text", ['{[ "quoted" \\', "\\\\", '"{', "\\{"], ids=["code", "slashes", "quote", "end"]
)
def test_containers_within_texts_are_no_containers(text: str):
    value = [text * MAX_CONTAINERS, {"a": [text]}]
    body = json.dumps(value).encode()

    assert num_containers(body + b" " * MAX_CONTAINERS) <= MAX_CONTAINERS
    assert parse_json(body) == value


def test_json_errors_tell_the_place_and_not_the_content():
    with pytest.raises(Problem) as refused:
        parse_json(b'{"secret":\n secret}')

    assert "secret" not in str(refused.value.as_json())
    assert "line 2, column 2" in refused.value.detail


def test_an_envelope_and_a_lone_item_are_told_apart():
    envelope, alone = unwrap(
        {"items": [1, 2], "truncate": "prompt"}, form=ScoreEnvelope, max_items=2
    )
    assert (envelope.items, envelope.truncate, alone) == ([1, 2], "prompt", False)

    envelope, alone = unwrap({"prompt": "p", "truncate": "prompt"}, form=ScoreEnvelope, max_items=2)
    assert (envelope.items, envelope.truncate, alone) == ([{"prompt": "p"}], "prompt", True)


def test_each_item_is_validated_by_itself():
    good = {"prompt": "p", "response": "r"}

    found = validate_items([good, {"prompt": 1, "zz": 2}, None], score_item_model)

    assert isinstance(found[0], ResponseItem)
    assert isinstance(found[1], ItemFailure)
    assert [problem.pointer for problem in found[1].problem_items()] == [
        "/items/1/prompt",
        "/items/1/response",
        "/items/1/zz",
    ]
    assert isinstance(found[2], ItemFailure)
    (lone,) = validate_items([{"prompt": "p"}], CompareItem, alone=True)
    assert isinstance(lone, ItemFailure)
    assert lone.pointer == "/responses"


def test_the_gravest_failure_sets_the_status_when_nothing_succeeds():
    soft, hard = ItemFailure("a", "d", "/items/0"), ItemFailure("b", "d", "/items/1", 500)

    require_one_success([soft], 2)
    for failures, status in (([soft, soft], 422), ([soft, hard], 500)):
        with pytest.raises(Problem) as refused:
            require_one_success(failures, 2)
        assert refused.value.status == status
        assert len(refused.value.errors) == 2
