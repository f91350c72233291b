"""Every byte on the wire is what it was when it was recorded; see `wire` and `record_wire`.

To record anew after a change that callers are meant to see: `python -m
tests.integration.record_wire`.
"""

import copy
import difflib
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.wire import RECORDINGS, REQUEST_ID, canonical_reply
from tests.integration.wire_documents import canonical_openapi, pretty
from tests.integration.wire_session import areas, observe, read_recording


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return observe(tmp_path_factory.mktemp("wire"))


def difference(recorded: Any, found: Any) -> str:
    """A diff of two recordings; empty if they are equal."""
    before, now = (pretty(value).splitlines() for value in (recorded, found))
    return "\n".join(difflib.unified_diff(before, now, "recorded", "now", lineterm="", n=12))


@pytest.mark.parametrize("area", areas())
def test_the_wire_is_as_recorded(observed: dict[str, Any], area: str) -> None:
    found = difference(read_recording(area), observed[area])
    assert not found, f"{area}.json is not what is said now:\n{found}"


def test_every_recording_is_of_an_area() -> None:
    assert {path.stem for path in RECORDINGS.glob("*.json")} == set(areas())


def _reply(body: bytes, **headers: str) -> httpx.Response:
    given = {"Date": "today", "X-Request-ID": REQUEST_ID, "Content-Type": "application/json"}
    request = httpx.Request("POST", "http://test/score")
    return httpx.Response(200, headers={**given, **headers}, content=body, request=request)


BODY = b'{"items":[{"reward":0.5,"score":0.6224593312018546,"warnings":[]}],"n":1}'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"0.6224593312018546", b"0.6224593312018547"),
        (b'"n":1', b'"n":1.0'),
        (b'"n":1', b'"n": 1'),
        (b'"reward":0.5,"score":0.6224593312018546', b'"score":0.6224593312018546,"reward":0.5'),
        (b"[]", b"null"),
        (b'"n":1}', b'"n":1}\n'),
        (b'"n":1', b'"n":1,"n":1'),
    ],
)
def test_a_changed_byte_of_a_reply_is_a_difference(before: bytes, after: bytes) -> None:
    recorded = canonical_reply(_reply(BODY), str)
    changed = canonical_reply(_reply(BODY.replace(before, after)), str)

    assert difference(recorded, recorded) == ""
    assert difference(recorded, changed)


def test_a_changed_header_or_status_is_a_difference() -> None:
    recorded = canonical_reply(_reply(BODY), str)
    other = canonical_reply(_reply(BODY, **{"Content-Type": "application/problem+json"}), str)

    assert difference(recorded, other)
    assert difference(recorded, {**recorded, "status": 201})


def test_schemas_may_be_renamed_but_no_field_of_theirs() -> None:
    field = {"title": "Reward", "type": "number"}
    schema = {"title": "Reply", "type": "object", "properties": {"title": field, "reward": field}}

    def document(name: str, schema: Any) -> dict[str, Any]:
        content = {"schema": {"$ref": f"#/components/schemas/{name}"}}
        return {"openapi": "3.1.0", "paths": {"/score": {"post": content}}} | {
            "components": {"schemas": {name: schema}}
        }

    recorded = canonical_openapi(document("Reply", schema))
    renamed = canonical_openapi(document("Answer", {**schema, "title": "Answer"}))
    changed = copy.deepcopy(schema)
    changed["properties"]["mark"] = changed["properties"].pop("title")

    assert difference(recorded, renamed) == ""
    assert difference(recorded, canonical_openapi(document("Reply", changed)))


def test_the_recordings_hold_no_path_of_the_machine_that_made_them() -> None:
    for path in RECORDINGS.glob("*.json"):
        text = path.read_text("utf-8")
        assert str(Path.home()) not in text
        assert "/tmp/" not in text
