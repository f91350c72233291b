"""The rows of one data file, each with its place: JSON, CSV, Excel, Parquet, Arrow.

A row that is broken in itself comes with what is wrong with it, and the rest of the file follows.
What no row can be read from is a `DataError`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.data.rows.open import TEXT_TABLES, WORKBOOK, open_file, suffix_of
from training.data.rows.row import Cells, RowProblem
from training.errors import DataError

SUFFIXES = (
    *(
        f"{suffix}{packed}"
        for suffix in (".jsonl", ".json", ".csv", ".tsv")
        for packed in ("", ".gz")
    ),
    *(".parquet", ".arrow", ".xlsx"),
)
"""What the name of a data file ends with."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row, or what is wrong with it.

    Attributes:
        where: "name:line", or "name:[index]" where there are no lines.
        value: the row's object; None where `problem` says why there is none.
        problem: what is wrong, without the row's text.
    """

    where: str
    value: Mapping[str, Any] | None
    problem: str = ""


def rows_of_file(path: Path, label: str, *, sheet: str | None = None) -> Iterator[Row]:
    """Each row of a file.

    Args:
        path: of one of the `SUFFIXES`.
        label: what the file is called in places.
        sheet: of a workbook; None where only one holds anything.

    Raises:
        DataError: the file can't be read at all.
    """
    if not path.name.endswith(SUFFIXES):
        raise DataError(f"{path} is none of {', '.join(SUFFIXES)}")
    value_of = {".parquet": _present, ".arrow": _present}.get(suffix_of(path), dict)
    if suffix_of(path) in (*TEXT_TABLES, WORKBOOK):
        value_of = cell_values
    with closing(open_file(path, allows_nan=True, sheet=sheet)) as rows:
        for row in rows.read():
            where = f"{label}:{row.number}" if row.is_line else f"{label}:[{row.number}]"
            if row.problem is None:
                yield Row(where, value_of(row.values))
            else:
                yield Row(where, None, _in_words(row.problem))


def rows_of_table(rows: Iterable[Mapping[str, Any]], label: str) -> Iterator[Row]:
    """Rows of a table, where a column that a row lacks holds None."""
    for index, row in enumerate(rows):
        yield Row(f"{label}:[{index}]", _present(row))


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    present = {key: value for key, value in values.items() if value is not None}
    return Cells(present, values.keys() - present.keys())


def _in_words(problem: RowProblem) -> str:
    return {
        "too_long": "longer than a row may be",
        "not_utf8": "not UTF-8 text",
        "not_json": f"not valid JSON (column {problem.at})",
        "not_strict_json": "not valid JSON",
        "not_an_object": "a row must be a JSON object",
        "not_csv": f"not valid CSV ({problem.detail})",
        "cell_count": problem.detail,
        "not_a_value": problem.detail,
    }[problem.defect]


_JSON_COLUMNS = {
    *("answers", "best", "better_response_id", "choice", "completions", "context", "extra"),
    *("helpfulness", "correctness", "coherence", "complexity", "verbosity", "history", "info"),
    *("is_response_0_safe", "is_response_1_safe", "is_safe", "is_safety", "kto_tag", "label"),
    *("labels", "margin", "overall_preference", "preference", "preference_strength", "ranking"),
    *("ranks", "rating", "ratings", "responses", "safer_response_id", "score_chosen"),
    *("score_rejected", "scores", "step_labels", "steps", "summaries", "tags", "token_ids"),
    *("winner_model_a", "winner_model_b", "winner_tie"),
}
"""Columns that formats read as something else than text, so that CSV holds them as JSON."""


def cell_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """A row of CSV or of a workbook, where a text may stand for more than itself."""
    read = {
        column: _cell(column, value) if isinstance(value, str) else value
        for column, value in values.items()
    }
    return Cells(read, values.empty if isinstance(values, Cells) else ())


def _cell(column: str, text: str) -> Any:
    """A cell's value: CSV knows texts alone.

    A response may look like a number or a list too, so only the columns that some format reads as
    numbers or lists are JSON; elsewhere a text is one unless it is a message or a list of them.
    """
    is_json = column in _JSON_COLUMNS or column.endswith(("_ids", "_mask"))
    if not is_json and text[0] not in "[{":
        return text
    try:
        value = json.loads({"True": "true", "False": "false"}.get(text, text))
    except (ValueError, RecursionError):
        return text
    turns = value if isinstance(value, list) else [value]
    return value if is_json or (turns and all(_is_message(turn) for turn in turns)) else text


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and not value.keys().isdisjoint({"content", "value"})
