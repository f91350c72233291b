"""A dialect's reply: its body as the clients read it, and in a header what it has no room for."""

from collections import Counter
from collections.abc import Sequence

import orjson
from fastapi import Response

from service.dialects.base import ParsedBody, TextReward, bad_request
from service.problems import json_reply

WARNINGS_HEADER = "X-Rewardd-Warnings"
FAILED = "failed"
"""The warning of a text that could not be scored and has the fallback reward."""


def reply_of(parsed: ParsedBody, found: Sequence[TextReward]) -> Response:
    """The reply to a body, from one reward per place.

    Raises:
        Problem: 422, the reply repeats the body and that can't be written as JSON.
    """
    try:
        rendered = parsed.render(found)
        reply = rendered if isinstance(rendered, Response) else json_reply(rendered)
    except orjson.JSONEncodeError:
        raise bad_request("", "The body can't be repeated as JSON; nest it less deeply.") from None
    warnings = warnings_header(found)
    if warnings:
        reply.headers[WARNINGS_HEADER] = warnings
    return reply


def warnings_header(found: Sequence[TextReward]) -> str:
    """What happened to the texts: an RFC 9651 list of warnings, each with its number of texts."""
    counts = Counter(
        warning
        for one in found
        for warning in (*one.warnings, *((FAILED,) if one.failure is not None else ()))
    )
    return ", ".join(f"{warning};count={count}" for warning, count in counts.items())
