import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from rewardd.files.rows import BadRow, BatchFailed
from rewardd.files.run import Summary, run
from training.data.rows.row import Row, RowProblem


class FakeRows:
    """Rows from memory; `num_read` counts those that were taken."""

    total = None
    done = 0

    def __init__(self, rows: Sequence[Mapping[str, Any] | None]) -> None:
        self._rows = rows
        self.num_read = 0

    def read(self, first: int) -> Iterator[Row]:
        for number, values in enumerate(self._rows[first:], first):
            self.num_read += 1
            problem = RowProblem("not_strict_json") if values is None else None
            yield Row(number, dict(values or {}), problem)

    def close(self) -> None:
        """Nothing to close."""


class FakeSink:
    def __init__(self, lines: Sequence[bytes] = ()) -> None:
        self.lines = list(lines)
        self.num_there = len(lines)
        self.last_there = lines[-1] if lines else b""

    def write(self, line: bytes) -> None:
        self.lines.append(line)

    def close(self) -> None:
        """Nothing to close."""

    def values(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


def item_of(values: Mapping[str, Any]) -> int:
    if "n" not in values:
        raise BadRow("missing_column", "the row has no column n")
    if values["n"] < 0:
        raise BadRow("invalid_item", "negative")
    return int(values["n"])


def square(items: Iterator[int]) -> Iterator[dict[str, Any]]:
    """A score that reads a few items ahead, as the real ones do."""
    while part := list(itertools.islice(items, 5)):
        yield from ({"reward": n * n} for n in part)


def scorer(rows: FakeRows, sink: FakeSink, prefix: str = "out") -> Summary:
    return run(rows, sink, item_of=item_of, scorer=square, prefix=prefix)


def test_every_row_keeps_its_columns_and_its_place_whatever_its_neighbours_are() -> None:
    rows = [None if n % 7 == 3 else {"n": n if n % 5 else -1, "id": n} for n in range(400)]
    sink = FakeSink()

    summary = scorer(FakeRows(rows), sink)

    assert summary.written == 400
    for n, written in enumerate(sink.values()):
        result = written.pop("out")
        assert written == (rows[n] or {})
        if n % 7 == 3:
            assert result["error"]["code"] == "invalid_json"
        elif n % 5 == 0:
            assert result["error"]["code"] == "invalid_item"
        else:
            assert result == {"reward": n * n}


@pytest.mark.parametrize("done", [1, 4, 5, 99, 100])
def test_a_run_that_is_resumed_writes_what_is_missing_and_nothing_else(done: int) -> None:
    rows = [{"n": n} if n % 4 else None for n in range(100)]
    whole = FakeSink()
    scorer(FakeRows(rows), whole)

    resumed = FakeSink(whole.lines[:done])
    summary = scorer(FakeRows(rows), resumed)

    assert resumed.lines == whole.lines
    assert (summary.there, summary.written) == (done, 100 - done)


@pytest.mark.parametrize("rows", [[{"n": 1}, {"n": 7}], [{"n": 1}], []])
def test_an_output_of_another_input_is_refused(rows: list[dict[str, Any]]) -> None:
    there = FakeSink()
    scorer(FakeRows([{"n": 1}, {"n": 2}]), there)

    with pytest.raises(BatchFailed, match="don't belong to this input"):
        scorer(FakeRows(rows), FakeSink(there.lines))


def test_bad_rows_without_end_are_written_as_they_come() -> None:
    rows = FakeRows([{"n": 1}, *([None] * 5000)])
    sink = FakeSink()
    ahead = []

    run(
        rows,
        sink,
        item_of=item_of,
        scorer=square,
        prefix="out",
        on_row=lambda summary: ahead.append(rows.num_read - summary.written),
    )

    assert len(sink.lines) == 5001
    assert max(ahead) < 200


def test_a_file_whose_columns_have_other_names_is_refused_before_anything_is_written() -> None:
    sink = FakeSink()

    with pytest.raises(BatchFailed, match="columns are: answer, question"):
        scorer(FakeRows([{"question": "q", "answer": "a"}] * 500), sink)
    assert sink.lines == []


def test_some_rows_without_their_columns_are_bad_rows() -> None:
    sink = FakeSink()

    summary = scorer(FakeRows([{"other": 1}] * 3 + [{"n": 2}]), sink)

    assert (summary.written, summary.failed) == (4, 3)
    assert summary.first_failure == (
        "missing_column: the row has no column n (element 1 of the input)"
    )


def test_a_column_of_the_results_name_is_never_overwritten() -> None:
    sink = FakeSink()

    with pytest.raises(BatchFailed, match="--prefix"):
        scorer(FakeRows([{"n": 1, "out": "mine"}]), sink)
    assert sink.lines == []


def test_an_empty_input_gives_an_empty_output() -> None:
    assert scorer(FakeRows([]), FakeSink()) == Summary()
