"""Whatever stands in a file: it is read, or named by file and line, and nothing else stops."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.training.data.formats.test_registry import ROWS
from training.data.character_encoder import CharacterEncoder
from training.data.formats import read_records
from training.data.formats.reading import ReadRecords
from training.data.prepare import DataOptions, accounted_data
from training.errors import DataError

SECRET = "zqx"  # stands in every text that is drawn, and in no message
WHOLE: Mapping[str, Any] = {"prompt": "Whole?", "responses": ["yes", "no"], "ranking": [0, 1]}

texts = st.text(max_size=6).map(lambda text: SECRET + text)
numbers = st.one_of(
    st.integers(-3, 3),
    st.floats(),
    st.sampled_from([10**400, -(10**400), 2**63, 1e308, -0.0]),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts, st.just(f"{SECRET}\ud800"))
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["role", "content", "end", "label", "x"]), inner),
    ),
    max_leaves=6,
)


@st.composite
def spoiled(draw: st.DrawFn) -> dict[str, Any]:
    """A row of some format in which a value or two, however deep, are something else or gone."""
    row = json.loads(json.dumps(draw(st.sampled_from([row for _, row, _ in ROWS]))))
    for _ in range(draw(st.integers(1, 2))):
        spoil(draw, row)
    return row


def spoil(draw: st.DrawFn, place: Any) -> None:
    """Take a value of a row away, or put something else there."""
    keys = list(place) if isinstance(place, dict) else list(range(len(place)))
    if not keys:
        return
    key = draw(st.sampled_from(keys))
    inside = place[key]
    if isinstance(inside, dict | list) and draw(st.booleans()):
        spoil(draw, inside)
    elif isinstance(place, dict) and draw(st.booleans()):
        del place[key]
    else:
        place[key] = draw(anything)


broken = st.one_of(
    st.binary(max_size=12).filter(lambda line: b"\n" not in line and bool(line.strip())),
    st.sampled_from([b"{", b"[]", b"3", b'"text"', b"null", b"\xff\xfe", b'{"prompt": "\xe9"}']),
    st.just(b'{"prompt": "p", "responses": ["a"], "scores": [' + b"9" * 5000 + b"]}"),
)
lines = st.one_of(spoiled().map(lambda row: json.dumps(row).encode()), broken)


def read(directory: Path, content: list[bytes]) -> ReadRecords:
    path = directory / "any.jsonl"
    path.write_bytes(b"\n".join(content))
    return read_records([path], max_malformed=len(content))


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(others=st.lists(lines, min_size=1, max_size=6), at=st.integers(0, 6))
def test_every_line_is_read_or_named_and_a_whole_one_beside_them_always_read(
    tmp_path: Path, others: list[bytes], at: int
) -> None:
    at = min(at, len(others))
    whole = json.dumps(WHOLE).encode()

    found = read(tmp_path, [whole, *others[:at], whole, *others[at:]])

    named = [row.where for row in found.malformed] + [where for _, where in found.unusable]
    assert {f"any.jsonl:{line}" for line in range(1, len(others) + 3)} >= set(named)
    assert len(set(named)) == len(named)
    assert found.num_rows == len(others) + 2
    assert [record.id for record in found.records if record.prompt == "Whole?"] == [
        "any.jsonl:1",
        f"any.jsonl:{at + 2}",
    ]
    assert not any(SECRET in row.problem for row in found.malformed)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(others=st.lists(lines, min_size=1, max_size=6))
def test_what_was_read_can_be_accounted_for_and_told(tmp_path: Path, others: list[bytes]) -> None:
    found = read(tmp_path, [json.dumps(WHOLE).encode(), *others])
    targets = frozenset({"pairs", "rankings", "ratings", "steps", "is_safe"})

    report = accounted_data(
        found, CharacterEncoder(), DataOptions(role="safety", targets=targets)
    ).report

    assert report.records_read == found.num_rows
    report.to_text().encode()
    json.dumps(report.to_json(), ensure_ascii=False, allow_nan=False).encode()


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(content=st.lists(broken, max_size=4))
def test_nothing_but_broken_lines_is_one_error(tmp_path: Path, content: list[bytes]) -> None:
    with pytest.raises(DataError):
        read(tmp_path, content)
