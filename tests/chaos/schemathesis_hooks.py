"""What schemathesis can't know of our document: how lines of JSON are written."""

import json
from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(_context: Any, value: Any) -> bytes:
    """A drawn text as it is; anything else as one line of JSON."""
    if isinstance(value, bytes):
        return value
    return (
        value.encode("utf-8", "replace") if isinstance(value, str) else json.dumps(value).encode()
    )
