"""Files that are no JSON object, and other libraries' errors, are told in one sentence."""

from pathlib import Path

import pytest

from rm_core.checkpoint.json_files import MAX_QUOTED, in_short, read_object
from rm_core.errors import CheckpointError


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "not readable JSON"), (b"[1]", "must hold a JSON object"), (b"\xff\xfe", "readable")],
)
def test_a_file_that_holds_no_object_is_refused_by_its_path(
    content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)

    with pytest.raises(CheckpointError, match=message) as told:
        read_object(path)

    assert str(path) in str(told.value)


def test_an_error_of_many_lines_becomes_part_of_a_sentence() -> None:
    assert in_short(ValueError("one\n\n  two")) == "ValueError: one two"
    assert in_short(AssertionError()) == "AssertionError"
    assert len(in_short(RuntimeError("x" * 10_000))) < MAX_QUOTED + 20
