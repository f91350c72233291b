import json
from typing import Any

import pytest

from rm_client.models_ppo import PpoResponseItem
from service.ppo.handler import parse_request
from service.problems import Problem
from service.results import ItemFailure

ITEM = {"prompt": "p", "response": "r"}


def parse(*items: Any, max_items: int = 10, **more: Any) -> Any:
    return parse_request(json.dumps({"items": items, **more}).encode(), max_items=max_items)


def test_each_item_is_sound_or_says_what_is_wrong_with_it() -> None:
    unequal = {**ITEM, "logprobs": [-1.0, -2.0], "ref_logprobs": [-1.0]}

    parsed = parse(ITEM, unequal, {"prompt": "p"}, "text")

    sound, *failures = parsed.items
    assert isinstance(sound[0], PpoResponseItem)
    assert sound[1] is None
    assert all(isinstance(failure, ItemFailure) for failure in failures)
    assert [failure.pointer for failure in failures] == [
        "/items/1/ref_logprobs",
        "/items/2/response",
        "/items/3",
    ]


def test_the_estimator_is_the_requests() -> None:
    item = {**ITEM, "logprobs": [-1.0], "ref_logprobs": [-3.0]}

    totals = [parse(item, kl_estimator=name).items[0][1].total for name in ("k1", "k2")]

    assert totals == [2.0, 2.0]
    assert parse(item, kl_estimator="k3").items[0][1].total == pytest.approx(1.1353352832366128)


def test_the_clip_is_the_requests_and_ten_nats_by_default() -> None:
    item = {**ITEM, "logprobs": [-1.0], "ref_logprobs": [-31.0]}

    totals = [
        parse(item, **clip).items[0][1].total for clip in ({}, {"kl_clip": 20.0}, {"kl_clip": None})
    ]

    assert totals == [10.0, 20.0, 30.0]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b"[]", 422, "invalid_request"),
        (b'{"items": [1, 2, 3]}', 413, "too_many_items"),
        (b'{"items": [1], "surprise": 1}', 422, "invalid_request"),
    ],
)
def test_what_is_wrong_with_the_whole_is_a_problem(body: bytes, status: int, code: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_request(body, max_items=2)

    assert (caught.value.status, caught.value.code) == (status, code)
