import inspect

import orjson
import pytest
from pydantic import ValidationError

from rm_client.models import MessagesItem, ResponseItem
from rm_core import errors
from service.problems import (
    STATUS_BY_ERROR,
    Problem,
    ProblemItem,
    detail_of,
    overloaded,
    problem_from,
    problem_items,
    status_of,
)

DOMAIN_ERRORS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.RewardError)
]


def make(kind: type[errors.RewardError]) -> errors.RewardError:
    return kind(9, 5) if issubclass(kind, errors.InputTooLong) else kind("private detail")


@pytest.mark.parametrize("kind", DOMAIN_ERRORS)
def test_every_domain_error_becomes_a_problem_with_its_own_code(kind):
    problem = problem_from(make(kind))

    assert problem.code == kind.code
    assert 400 <= problem.status < 600
    if problem.status >= 500:
        assert "private detail" not in problem.detail


def test_codes_are_unique():
    """But for the kinds of one error that differ in what the caller can do about it."""
    codes = [kind.code for kind in DOMAIN_ERRORS if "code" in vars(kind)]

    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (errors.InputTooLong(9, 5), 'shorten the text or send "truncate": "prompt"'),
        (errors.TemplateChangesResponse("x"), "leave `detail` out"),
        (errors.ReadsWholeText("x"), "leave `detail` out, or serve causal models"),
        (errors.EmptyText("x"), None),
    ],
)
def test_the_wire_adds_what_its_caller_can_do(error, advice):
    assert detail_of(error) == (str(error) if advice is None else f"{error}; {advice}")
    assert problem_from(error).detail == detail_of(error)


def test_the_most_specific_entry_of_the_table_wins():
    assert STATUS_BY_ERROR[errors.EngineError] == 500
    assert status_of(errors.OutOfMemory("x")) == 413
    assert status_of(errors.EngineClosed("x")) == 503
    assert status_of(errors.EmptyText("x")) == 422


def test_a_problem_carries_what_json_cannot():
    problem = Problem(
        422, "c", "lone \ud800 surrogate\x1b[31m", errors=[ProblemItem("", "c", "\udfff")]
    )

    body = orjson.loads(problem.as_response().body)

    assert body["detail"] == "lone ? surrogate [31m"
    assert body["errors"][0]["detail"] == "?"


def test_at_most_a_hundred_errors_are_listed():
    items = [ProblemItem(f"/items/{i}", "c", "d") for i in range(250)]

    body = Problem(422, "c", "d", errors=items).as_json()

    assert (len(body["errors"]), body["errors_left_out"]) == (100, 150)


def test_retry_after_is_a_whole_number_of_at_least_one():
    assert overloaded(429, 0, "Full.").headers == {"Retry-After": "1"}


def found(model, value):
    with pytest.raises(ValidationError) as caught:
        model.model_validate(value)
    return [(item.pointer, item.code) for item in problem_items(caught.value, value, pointer="/x")]


def test_pointers_name_only_what_is_in_the_value_or_missing_from_it():
    assert found(ResponseItem, {"prompt": [{"role": "u"}], "response": None}) == [
        ("/x/prompt/0/content", "missing_field"),
        ("/x/response", "string_type"),
    ]
    assert found(MessagesItem, {"messages": [{"role": "u", "content": 3}, 4]}) == [
        ("/x/messages/0/content", "content_type"),
        ("/x/messages/1", "model_type"),
    ]


def test_a_key_that_is_a_text_is_not_repeated():
    value = {"prompt": "p", "response": "r", "a long secret sentence": 1, "x" * 500: 2}

    assert found(ResponseItem, value) == [("/x/(unnamed)", "unknown_field")] * 2


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("OPTIONS", "/streams/run", "DELETE, GET, PUT"), ("GET", "/score", "POST")],
)
async def test_a_refused_method_is_told_all_that_its_path_answers(service, method, path, allowed):
    reply = await service.client.request(method, path)

    assert (reply.status_code, reply.headers["allow"]) == (405, allowed)
