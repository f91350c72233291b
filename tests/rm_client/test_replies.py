"""Answers that do not fit their questions, and items that failed."""

import json
from typing import Any

import pytest

from rm_client import (
    FailedReply,
    InvalidReply,
    ItemsFailed,
    RequestRefused,
    ResponseReply,
)
from tests.rm_client.calling import Ask
from tests.rm_client.examples import FAILED, ITEM, STATISTICS, problem, scored, shaped
from tests.rm_client.servers import (
    reply,
    scripted_server,
)


@pytest.mark.parametrize(
    "body",
    [
        {"items": []},
        {"items": [scored(), scored()]},
        {"items": [{"responses": [], "mean": None, "std": None, "advantages": []}]},
        {"items": [scored(selected="taste")]},
        {"items": [{**scored(), "selected_reward": None}]},
        {"items": {}},
        json.dumps({"items": [scored(float("nan"))]}).encode(),
        b"<html>Welcome to the hotel's network</html>",
        b"",
    ],
)
def test_an_answer_that_does_not_fit_is_an_invalid_reply(ask: Ask, body: Any) -> None:
    with scripted_server(reply(200, body)) as server:
        with pytest.raises(InvalidReply):
            ask(server.url, "score", [ITEM])
        assert len(server.seen) == 1


@pytest.mark.parametrize(
    "item",
    [
        shaped(tokens=[0.1]),
        shaped(tokens=None),
        shaped(tokens=[0.1, 0.2, 0.3]),
        shaped(tokens=[0.1, 0.2], id="other"),
    ],
)
def test_token_rewards_must_fit_their_tokens(ask: Ask, item: dict[str, Any]) -> None:
    asked = {**ITEM, "logprobs": [-1.0, -1.0], "ref_logprobs": [-1.0, -1.0]}
    answer = reply(200, {"items": [item], "statistics": STATISTICS})
    with scripted_server(answer) as server, pytest.raises(InvalidReply):
        ask(server.url, "ppo_reward", [asked])


RANKING = {"winner": 0, "ranking": [0, 1], "ranks": [1, 2], "probabilities": [[0.5, 1], [0, 0.5]]}


@pytest.mark.parametrize(
    "changed",
    [
        {"ranking": [0, 0]},
        {"ranks": [1]},
        {"winner": 2},
        {"probabilities": [[0.5, 1]]},
        {"probabilities": [[0.5], [0.5]]},
        {"responses": [scored()]},
        {"safety": {**RANKING, "ranking": [0, 1, 2]}},
    ],
)
def test_a_ranking_must_be_of_the_responses(ask: Ask, changed: dict[str, Any]) -> None:
    whole = {**RANKING, "responses": [scored(), scored()]}
    item = {"prompt": "p", "responses": ["a", "b"]}
    with scripted_server(
        reply(200, {"items": [whole]}), reply(200, {"items": [{**whole, **changed}]})
    ) as server:
        assert ask(server.url, "compare", [item]).items[0].winner == 0
        with pytest.raises(InvalidReply):
            ask(server.url, "compare", [item])


@pytest.mark.parametrize(
    "lines",
    [
        [{"index": 1, **scored()}],
        [{"index": 0, **scored()}, {"index": 1, **scored()}],
        [],
        [scored()],
        ["text"],
    ],
)
def test_lines_that_do_not_fit_are_an_invalid_reply(ask: Ask, lines: list[Any]) -> None:
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    with scripted_server(reply(200, body)) as server, pytest.raises(InvalidReply):
        ask(server.url, "score_iter", [ITEM])


def test_failed_items_come_back_in_place_or_as_one_exception(ask: Ask) -> None:
    some = reply(200, {"items": [scored(), FAILED]})
    with scripted_server(some) as server:
        first, second = ask(server.url, "score", [ITEM, ITEM]).items
        assert isinstance(first, ResponseReply)
        assert isinstance(second, FailedReply)
        with pytest.raises(ItemsFailed) as caught:
            ask(server.url, "score", [ITEM, ITEM], on_item_error="raise")
        assert caught.value.failures[1].code == "empty_text"


def test_a_group_with_a_failure_names_the_response(ask: Ask) -> None:
    group = {
        "responses": [scored(), FAILED],
        "mean": 0.5,
        "std": 0.0,
        "advantages": [0.0, None],
        "num_duplicates": 0,
        "duplicates": [],
        "degenerate": True,
    }
    with scripted_server(reply(200, {"items": [group]})) as server:
        item = {"prompt": "p", "responses": ["a", ""]}
        with pytest.raises(ItemsFailed) as caught:
            ask(server.url, "score", [item], on_item_error="raise")
        assert list(caught.value.failures) == [(0, 1)]


def test_all_items_failing_is_told_item_by_item(ask: Ask, server_url: str) -> None:
    items = [{"prompt": "p", "response": " "}] * 120
    results = ask(server_url, "score", items).items
    assert len(results) == 120
    assert all(isinstance(result, FailedReply) for result in results)
    assert results[99].error.code == "empty_text"
    with pytest.raises(ItemsFailed) as caught:
        ask(server_url, "ppo_reward", items)
    assert len(caught.value.failures) == 120


def test_an_envelope_that_is_refused_is_not_taken_for_failed_items(ask: Ask) -> None:
    refused = problem(422, "x", errors=[{"pointer": "/items", "code": "x", "detail": "d"}])
    with scripted_server(reply(422, refused)) as server, pytest.raises(RequestRefused):
        ask(server.url, "score", [ITEM])
