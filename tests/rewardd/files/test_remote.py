"""A score that asks a scripted server: what it sends again, what it gives up, what it splits."""

import json
from typing import Any

import pytest

from rewardd.files.remote import RemoteScorer
from rewardd.files.rows import BatchFailed
from rm_client import CompareItem, ResponseItem, RetryPolicy, RewardClient
from tests.rm_client.servers import Seen, reply, scripted_server

QUICK = RetryPolicy(
    max_attempts=3, initial_delay_seconds=0.01, max_delay_seconds=0.02, max_elapsed_seconds=1.0
)
RESULT = {
    "safety": {"reward": 1.0, "score": 0.73},
    "selected": "safety",
    "selected_reward": 1.0,
    "num_tokens": 3,
    "warnings": [],
}
OVERLOADED = {"error": {"code": "overloaded", "detail": "The queue is full.", "pointer": ""}}
EMPTY = {"error": {"code": "empty_text", "detail": "Nothing to judge.", "pointer": "/response"}}
COMPARISON = {
    "winner": 0,
    "ranking": [0, 1],
    "ranks": [1, 2],
    "probabilities": [[0.5, 0.6], [0.4, 0.5]],
    "responses": [RESULT, RESULT],
}


def lines(*results: dict[str, Any]) -> bytes:
    numbered = ({"index": i, **result} for i, result in enumerate(results))
    return b"".join(json.dumps(one).encode() + b"\n" for one in numbered)


def item(text: str = "r") -> ResponseItem:
    return ResponseItem(prompt="p", response=text)


def scorer(url: str) -> RemoteScorer:
    return RemoteScorer(RewardClient(url, retry=QUICK, trust_env=False))


def test_an_item_that_met_a_bad_moment_is_asked_again_in_its_place() -> None:
    with scripted_server(
        reply(200, lines(RESULT, OVERLOADED, EMPTY, RESULT)),
        reply(503, {"error": "still full"}),
        reply(200, {"items": [RESULT]}),
    ) as server:
        items = [item(text) for text in ("a", "b", "", "d")]
        found = list(scorer(server.url).score(iter(items), "error"))

    assert found == [RESULT, RESULT, EMPTY, RESULT]
    assert [seen.json()["items"][0]["response"] for seen in server.seen[1:]] == ["b", "b"]


def test_a_moment_that_does_not_pass_ends_the_run_instead_of_spoiling_the_file() -> None:
    problem = {
        "type": "about:blank",
        "title": "t",
        "status": 503,
        "code": "overloaded",
        "detail": "The queue is full.",
        "errors": [{"pointer": "/items/0", "code": "overloaded", "detail": "The queue is full."}],
    }
    with (
        scripted_server(reply(200, lines(OVERLOADED)), reply(500, problem)) as server,
        pytest.raises(BatchFailed, match="goes on where it stopped"),
    ):
        list(scorer(server.url).score(iter([item()]), "error"))


def test_a_server_that_is_away_ends_the_run() -> None:
    with scripted_server(reply(503, {})) as server, pytest.raises(BatchFailed, match="503"):
        list(scorer(server.url).score(iter([item()]), "error"))


def test_comparisons_go_in_parts_and_come_in_order() -> None:
    def answer(handler: Any, seen: Seen) -> None:
        items = seen.json()["items"]
        bodies = [{**COMPARISON, "winner": int(one["responses"][0])} for one in items]
        reply(200, {"items": bodies})(handler, seen)

    items = [CompareItem(prompt="p", responses=[str(i % 2), "x"]) for i in range(100)]
    with scripted_server(answer) as server:
        found = list(scorer(server.url).compare(iter(items), "error"))

    assert [one["winner"] for one in found] == [i % 2 for i in range(100)]
    # Parts travel side by side: the order in which they arrive is nobody's promise.
    sizes = sorted(len(seen.json()["items"]) for seen in server.seen)
    assert sizes == [4, 32, 32, 32]


def test_a_comparison_that_is_too_large_fails_alone() -> None:
    def answer(handler: Any, seen: Seen) -> None:
        items = seen.json()["items"]
        if any(len(one["responses"]) > 2 for one in items):
            problem = {"type": "t", "title": "t", "status": 413, "code": "too_many_items"}
            reply(413, {**problem, "detail": "Send fewer."})(handler, seen)
        else:
            reply(200, {"items": [COMPARISON] * len(items)})(handler, seen)

    items = [CompareItem(prompt="p", responses=["a", "b"]) for _ in range(3)]
    items[1] = CompareItem(prompt="p", responses=["a", "b", "c"])
    with scripted_server(answer) as server:
        found = list(scorer(server.url).compare(iter(items), "error"))

    assert [result.get("error", {}).get("code") for result in found] == [
        None,
        "too_many_items",
        None,
    ]


def test_errors_point_below_the_row() -> None:
    failure = {"error": {**EMPTY["error"], "pointer": "/items/0/responses/1"}}
    with scripted_server(reply(200, {"items": [failure]})) as server:
        (found,) = scorer(server.url).compare(
            iter([CompareItem(prompt="p", responses=["a", "b"])]), "error"
        )

    assert found["error"]["pointer"] == "/responses/1"


def test_what_is_no_rewardd_server_is_told() -> None:
    with (
        scripted_server(reply(200, {"hello": "world"})) as server,
        pytest.raises(BatchFailed, match="rewardd server"),
    ):
        scorer(server.url).info()
