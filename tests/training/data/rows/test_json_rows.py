import gzip
import json
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.rows import json_rows
from training.data.rows.json_rows import JsonArrayRows, JsonLinesRows
from training.data.rows.open import open_file
from training.errors import DataError


def defects(path: Path, *, allows_nan: bool = False) -> list[str | None]:
    with closing(JsonLinesRows(path, allows_nan=allows_nan)) as rows:
        return [row.problem.defect if row.problem else None for row in rows.read()]


def test_a_bad_line_is_one_row_with_a_problem_and_the_next_is_read(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    lines = [
        b'\xef\xbb\xbf{"a": 1}',  # a byte order mark
        b"",
        b"{broken",
        b"[1]",
        b'{"a": NaN}',
        b'{"a": "\xff"}',
        b"[" * 100_000,
        b'{"a": "\xe2\x80\xa8"}',  # a line separator of Unicode ends no line here
        b'  {"a": 2}  \r',
    ]
    path.write_bytes(b"\n".join(lines))

    assert defects(path) == [
        None,
        "not_json",
        "not_an_object",
        "not_strict_json",
        "not_utf8",
        "not_strict_json",
        None,
        None,
    ]
    assert defects(path, allows_nan=True)[3] is None


def test_a_line_that_is_too_long_is_skipped_without_being_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_rows, "MAX_ROW_BYTES", 100)
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'{"a": 1}\n"' + b"x" * 300_000 + b'"\n{"a": 2}\n' + b"y" * 200)

    assert defects(path) == [None, "too_long", None, "too_long"]


def test_a_gzip_file_that_is_cut_off_gives_its_whole_lines_and_then_says_so(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": 1}\n' * 100_000)[:-200])

    with closing(JsonLinesRows(path)) as file:
        rows = file.read()
        assert next(rows).values == {"a": 1}
        with pytest.raises(DataError, match="broken or cut off"):
            list(rows)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    elements=st.lists(VALUES, max_size=8),
    chunk=st.integers(1, 40),
    indent=st.sampled_from([None, 2]),
)
def test_an_array_gives_its_elements_wherever_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, elements: list[object], chunk: int, indent: int | None
) -> None:
    path = tmp_path_factory.mktemp("array") / "in.json"
    path.write_text(json.dumps(elements, indent=indent, ensure_ascii=False), "utf-8")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "_CHUNK", chunk)
        with closing(JsonArrayRows(path)) as file:
            rows = list(file.read())

    assert len(rows) == len(elements)
    for row, element in zip(rows, elements, strict=True):
        if isinstance(element, dict):
            assert row.values == element
        else:
            assert row.problem is not None
            assert row.problem.defect == "not_an_object"


@pytest.mark.parametrize(
    "text",
    ["[", '[{"a": 1}', '[{"a": 1} {"a": 2}]', '[{"a": 1},]', '[{"a": oops}]', '[{"a": 1}][]'],
)
def test_a_broken_array_ends_the_run_after_its_good_elements(tmp_path: Path, text: str) -> None:
    path = tmp_path / "in.json"
    path.write_text(text)
    found = []

    with closing(JsonArrayRows(path)) as rows, pytest.raises(DataError, match="element"):
        found.extend(row.values for row in rows.read())
    assert found == ([{"a": 1}] if '"a": 1}' in text else [])


@pytest.mark.parametrize(
    "text",
    [
        '{"data": [{"a": 1}, {"a": 2}]}',
        '{"version": "1", "of": {"data": [3]}, "data": [{"a": 1}, {"a": 2}], "tags": ["x"]}\n',
        '\n{\n  "data": [\n    {"a": 1},\n    {"a": 2}\n  ],\n  "license": null\n}',
        '[{"a": 1}, {"a": 2}]',
        '{"a": 1}\n{"a": 2}\n',
    ],
)
def test_rows_stand_in_a_list_in_an_object_or_line_by_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "in.json"
    path.write_text(text)

    with closing(open_file(path)) as rows:
        assert [row.values for row in rows.read()] == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"train": [{"a": 1}]}\n', "`train` is a list of objects"),
        ('{"data": [{"a": 1}], "test": [{"a": 2}]}', "`test` is a list of objects too"),
        ('{"data": [{"a": 1}], "data": [{"a": 2}]}', "`data` is a list of objects too"),
        ('{\n"a": 1, "b": 2}', "this object has a, b"),
        ('{"data": [{"a": 1}]} {"data": []}', "more follows"),
        ('{"data": [{"a": 1}]', "is missing"),
        ('{"data": [{"a": 1}}', "no comma or closing bracket after element 1"),
    ],
)
def test_an_object_that_may_be_meant_otherwise_is_refused(
    tmp_path: Path, text: str, told: str
) -> None:
    path = tmp_path / "in.json"
    path.write_text(text)

    with closing(JsonArrayRows(path)) as rows, pytest.raises(DataError, match=told):
        list(rows.read())
