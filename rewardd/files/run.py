"""One run over a file: rows in, results beside them out, in order and in bounded memory."""

import itertools
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from rewardd.files.remote import Result
from rewardd.files.result_file import Sink, encode_row
from rewardd.files.rows import BadRow, BatchFailed, place_of, unreadable
from training.data.rows.row import Row, Rows

Item = TypeVar("Item")

_WITHOUT_COLUMNS = 100
"""So many rows without their columns at a file's beginning are a mistake, not bad rows."""

_BAD_ROWS_HELD = 64
"""Bad rows that may pile up while a part for the server is being filled with good ones."""


@dataclass(slots=True)
class Summary:
    """What became of a run.

    Attributes:
        there: rows that an earlier run had done.
        written: rows that this one wrote.
        failed: of them, those with an error (a group or comparison counts once).
        first_failure: place, code and detail of the first.
    """

    there: int = 0
    written: int = 0
    failed: int = 0
    first_failure: str = ""


def run(
    rows: Rows,
    sink: Sink,
    *,
    item_of: Callable[[Mapping[str, Any]], Item],
    scorer: Callable[[Iterator[Item]], Iterator[Result]],
    prefix: str,
    on_row: Callable[[Summary], None] = lambda _: None,
) -> Summary:
    """Score every row that the sink lacks and write it with its result.

    Args:
        rows: the input.
        sink: the output; what it holds is not scored again.
        item_of: makes a row's item, or raises `BadRow`.
        scorer: one result per item, in order.
        prefix: the column that gets the result.
        on_row: called after each row that was written.

    Raises:
        BatchFailed: the run can't go on, or should not have begun.
    """
    summary = Summary(there=sink.num_there)
    source = iter(_remaining(rows, sink, prefix))
    if sink.num_there == 0:
        source = _with_columns(source, item_of)
    for row, result in _scored(source, item_of, scorer):
        if prefix in row.values:
            raise BatchFailed(
                f"the input has a column {prefix!r} already; give the results another name with "
                "--prefix"
            )
        sink.write(encode_row({**row.values, prefix: result}))
        summary.written += 1
        if "error" in result:
            summary.failed += 1
            error = result["error"]
            summary.first_failure = summary.first_failure or _failure(row, error)
        on_row(summary)
    return summary


def _remaining(rows: Rows, sink: Sink, prefix: str) -> Iterator[Row]:
    """The rows that are not done, once the last that is done proves to be the input's."""
    if sink.num_there == 0:
        return rows.read(0)
    source = rows.read(sink.num_there - 1)
    last = next(source, None)
    try:
        written = json.loads(sink.last_there)
        written.pop(prefix)
        is_same = last is not None and written == json.loads(encode_row(last.values))
    except (ValueError, AttributeError, KeyError):
        is_same = False
    if not is_same:
        raise BatchFailed(
            f"the output's {sink.num_there} lines don't belong to this input; choose another "
            "output, or begin anew with --overwrite"
        )
    return source


def _with_columns(
    source: Iterator[Row], item_of: Callable[[Mapping[str, Any]], Item]
) -> Iterator[Row]:
    """The same rows, unless it is plain from the first ones that the columns have other names."""
    seen: list[Row] = []
    problem: BadRow | None = None
    for row in source:
        seen.append(row)
        _, problem = _prepared(row, item_of)
        if problem is None or problem.code != "missing_column" or len(seen) == _WITHOUT_COLUMNS:
            break
    if seen and problem is not None and problem.code == "missing_column":
        _, first = _prepared(seen[0], item_of)
        found = ", ".join(sorted({name for row in seen for name in row.values})) or "none"
        told = (first or problem).detail
        raise BatchFailed(f"{place_of(seen[0])}: {told}. The columns are: {found}")
    return itertools.chain(seen, source)


def _failure(row: Row, error: Mapping[str, Any]) -> str:
    told, place = f"{error['code']}: {error['detail']}", place_of(row)
    return told if place in told else f"{told} ({place})"


def _scored(
    source: Iterator[Row],
    item_of: Callable[[Mapping[str, Any]], Item],
    scorer: Callable[[Iterator[Item]], Iterator[Result]],
) -> Iterator[tuple[Row, Result]]:
    """Every row with its result; bad rows, which the scorer never sees, keep their places."""
    held: deque[tuple[Row, BadRow | None]] = deque()
    is_exhausted = False

    def good() -> Iterator[Item]:
        nonlocal is_exhausted
        num_bad = 0
        for row in source:
            item, problem = _prepared(row, item_of)
            held.append((row, problem))
            if item is not None:
                yield item
                continue
            num_bad += 1
            if num_bad == _BAD_ROWS_HELD:
                return  # so that they are written before more are read
        is_exhausted = True

    def bad() -> Iterator[tuple[Row, Result]]:
        while held and held[0][1] is not None:
            row, problem = held.popleft()
            if problem is not None:
                yield row, problem.as_json()

    while not is_exhausted:
        for result in scorer(good()):
            yield from bad()
            yield held.popleft()[0], result
        yield from bad()


def _prepared(
    row: Row, item_of: Callable[[Mapping[str, Any]], Item]
) -> tuple[Item | None, BadRow | None]:
    """A row's item, or why it has none."""
    if (problem := unreadable(row)) is not None:
        return None, problem
    try:
        return item_of(row.values), None
    except BadRow as problem:
        return None, problem
