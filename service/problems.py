"""Errors on the wire: RFC 9457 `application/problem+json`.

Owns the one table from domain errors to status codes and the one set of handlers. Nothing here ever
echoes what a caller sent: a text may be private, and may hold what JSON can't carry (lone
surrogates, NaN), which is how FastAPI's own 422 handler turns bad input into a 500.
"""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from rm_core import errors

PROBLEM_MEDIA_TYPE = "application/problem+json"

# The most specific class wins; every RewardError has an ancestor here.
STATUS_BY_ERROR: Mapping[type[errors.RewardError], int] = {
    errors.RewardError: 500,
    errors.InputError: 422,
    errors.InputTooLong: 422,
    errors.CheckpointError: 500,
    errors.EngineError: 500,
    # One sequence that doesn't fit the device even alone: sending it again won't help.
    errors.OutOfMemory: 413,
    errors.EngineClosed: 503,
    errors.ConfigurationError: 500,
    errors.InvariantViolation: 500,
}

# What a caller can do next, in the wire's own words; the most specific class wins.
_ADVICE_BY_ERROR: Mapping[type[errors.RewardError], str] = {
    errors.InputTooLong: 'shorten the text or send "truncate": "prompt"',
    errors.TemplateChangesResponse: "leave `detail` out",
    errors.ReadsWholeText: "leave `detail` out, or serve causal models",
}

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_MAX_LISTED = 100


@dataclass(frozen=True, slots=True)
class ProblemItem:
    """One thing that is wrong, and where.

    Attributes:
        pointer: RFC 6901 pointer into the request body ("/items/3/response"); "" is the whole body.
        code: stable, public name of what is wrong ("empty_text").
        detail: what to do about it, without the text itself.
    """

    pointer: str
    code: str
    detail: str

    def as_json(self) -> dict[str, str]:
        """The item as it travels."""
        return {"pointer": self.pointer, "code": self.code, "detail": printable(self.detail)}


class Problem(Exception):
    """A request that can't be answered as asked; becomes one problem+json reply.

    Args:
        status: HTTP status code.
        code: stable, public name; also the last part of `type`.
        detail: what is wrong and what to do next, without user text.
        title: short summary; the status's own phrase by default.
        errors: what is wrong where, when there are several or a place to point at.
        headers: further response headers, such as Retry-After.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        title: str | None = None,
        errors: Sequence[ProblemItem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.title = title if title is not None else HTTPStatus(status).phrase
        self.errors = tuple(errors)
        self.headers = dict(headers or {})

    def as_json(self) -> dict[str, Any]:
        """The problem's body; at most 100 of its errors are listed."""
        body: dict[str, Any] = {
            "type": f"urn:rewardd:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "detail": printable(self.detail),
        }
        if self.errors:
            body["errors"] = [error.as_json() for error in self.errors[:_MAX_LISTED]]
            if len(self.errors) > _MAX_LISTED:
                body["errors_left_out"] = len(self.errors) - _MAX_LISTED
        return body

    def as_response(self, more: Mapping[str, Any] | None = None) -> Response:
        """The problem as an HTTP response.

        Args:
            more: further members of its body.
        """
        return Response(
            orjson.dumps({**self.as_json(), **(more or {})}),
            status_code=self.status,
            media_type=PROBLEM_MEDIA_TYPE,
            headers=self.headers,
        )


def status_of(error: errors.RewardError) -> int:
    """The HTTP status of a domain error, by the most specific class in the table."""
    return next(STATUS_BY_ERROR[kind] for kind in type(error).__mro__ if kind in STATUS_BY_ERROR)


def detail_of(error: errors.RewardError) -> str:
    """What a domain error says, and what its caller can do about it over HTTP."""
    advice = (_ADVICE_BY_ERROR[kind] for kind in type(error).__mro__ if kind in _ADVICE_BY_ERROR)
    return "; ".join((str(error), *itertools.islice(advice, 1)))


def problem_from(error: errors.RewardError) -> Problem:
    """A domain error that concerns the whole request; internals of 5xx stay inside."""
    status = status_of(error)
    if status >= 500:
        detail = _INTERNAL_DETAIL if status == 500 else "The engine is not available; try again."
        return Problem(status, error.code, detail)
    pointer = f"/{error.field}" if isinstance(error, errors.InputError) and error.field else ""
    detail = detail_of(error)
    return Problem(status, error.code, detail, errors=[ProblemItem(pointer, error.code, detail)])


def overloaded(status: int, retry_after_seconds: int, detail: str) -> Problem:
    """The queue is full or too slow: 429 or 503, with an integer Retry-After of at least 1 s."""
    retry_after = max(1, retry_after_seconds)
    return Problem(
        status,
        "overloaded",
        f"{detail} Try again in {retry_after} s.",
        headers={"Retry-After": str(retry_after)},
    )


def problem_items(
    error: ValidationError | RequestValidationError, value: object, *, pointer: str = ""
) -> list[ProblemItem]:
    """What a pydantic model found wrong with `value`, as pointers below `pointer`.

    Pydantic's locations also name union members and validators; only the parts that are keys or
    indices of `value`, and the name of a missing field at the end, make it into the pointer.
    """
    found = []
    listed = (
        error.errors(include_url=False, include_context=False, include_input=False)
        if isinstance(error, ValidationError)
        else error.errors()
    )
    for entry in listed:
        missing = entry["type"] == "missing"
        path = _pointer(entry["loc"], value, missing=missing)
        found.append(ProblemItem(pointer + path, _code(entry["type"]), _message(entry)))
    return found


def install_handlers(
    app: FastAPI, more: Callable[[str, Problem], Mapping[str, Any]] = lambda *_: {}
) -> None:
    """Make every error reply of `app` a problem document.

    Args:
        app: the app.
        more: further members of a problem's body, by the path that was asked for.
    """

    def answer(request: Request, problem: Problem) -> Response:
        return problem.as_response(more(request.scope["path"], problem))

    async def on_problem(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, Problem)  # noqa: S101 (registered for this type alone)
        return answer(request, exc)

    async def on_domain_error(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, errors.RewardError)  # noqa: S101
        return answer(request, problem_from(exc))

    async def on_invalid(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, RequestValidationError)  # noqa: S101
        # Bodies are read by service.http.body: FastAPI itself validates path, query and headers.
        problem = Problem(
            422,
            "invalid_parameter",
            "A path, query or header parameter is not valid.",
            errors=problem_items(exc, exc.body),
        )
        return answer(request, problem)

    async def on_http(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)  # noqa: S101
        code, detail = _HTTP_PROBLEMS.get(
            exc.status_code, ("http_error", "The request was refused.")
        )
        headers = dict(exc.headers or {})
        if exc.status_code == 405:
            headers["Allow"] = ", ".join(_methods(request))
        problem = Problem(exc.status_code, code, detail, headers=headers)
        return answer(request, problem)

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(errors.RewardError, on_domain_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)


def _methods(request: Request) -> list[str]:
    """What the path that was asked for answers; the router's own 405 names its first route's."""

    def answers(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    return list(filter(answers, _METHODS))


def internal_problem() -> Problem:
    """What a caller sees of a bug of ours."""
    return Problem(500, "internal_error", _INTERNAL_DETAIL)


def printable(text: str) -> str:
    """`text` without what UTF-8 can't carry (lone surrogates) and without control characters."""
    clean = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(char if char.isprintable() else " " for char in clean)


_INTERNAL_DETAIL = (
    "Something failed on our side; the request was not at fault. "
    "The log holds the details under this response's X-Request-ID."
)
_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_HTTP_PROBLEMS = {
    404: ("not_found", "There is no such path; GET /openapi.json lists them all."),
    405: ("method_not_allowed", "This path doesn't answer that method; see the Allow header."),
}


def _pointer(loc: Sequence[int | str], value: object, *, missing: bool) -> str:
    parts: list[str] = []
    here = value
    for position, part in enumerate(loc):
        if _holds(here, part):
            here = here[part]  # type: ignore[index]  # _holds has looked
        elif not (missing and position == len(loc) - 1):
            continue  # the name of a union member or of a validator
        parts.append(str(part))
    return "".join(f"/{_plain(part)}" for part in parts)


def _holds(value: object, part: int | str) -> bool:
    if isinstance(value, dict):
        return isinstance(part, str) and part in value
    return isinstance(value, list) and isinstance(part, int) and 0 <= part < len(value)


def _plain(key: str) -> str:
    # A caller's own key may be a text of any length: name it only if it looks like a field.
    return key if _PLAIN_KEY.match(key) else "(unnamed)"


def _code(kind: str) -> str:
    return {"extra_forbidden": "unknown_field", "missing": "missing_field"}.get(kind, kind)


def _message(entry: Mapping[str, Any]) -> str:
    kind = str(entry["type"])
    if kind == "extra_forbidden":
        return "This field is not known; remove it or correct its name."
    if kind.startswith("union_tag"):  # the only message of pydantic's that quotes the input
        return "The value has none of the expected forms."
    message = str(entry["msg"])
    return message.removeprefix("Value error, ")


def json_reply(value: Any, *, status: int = 200) -> Response:
    """`value` as an application/json response."""
    return Response(orjson.dumps(value), status_code=status, media_type="application/json")
