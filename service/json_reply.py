"""JSON replies by orjson, which writes no NaN."""

from typing import Any

import orjson
from fastapi import Response


def json_reply(value: Any, *, status: int = 200) -> Response:
    """`value` as an application/json response."""
    return Response(orjson.dumps(value), status_code=status, media_type="application/json")
