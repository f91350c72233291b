"""Small made-up files of each format, read the way a user's files are."""

import json
from pathlib import Path
from typing import Any

from training.data.formats import read_records
from training.data.formats.options import FormatOptions
from training.data.formats.reading import ReadRecords
from training.data.records import PreferenceRecord

FILE = "data.jsonl"


def read_rows(
    tmp_path: Path, rows: list[dict[str, Any]], options: FormatOptions | None = None
) -> ReadRecords:
    """What a file of those rows is read as."""
    path = tmp_path / FILE
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_records([path], options=options)


def record(line: int, **fields: Any) -> PreferenceRecord:
    """The record that a line of the file must give."""
    return PreferenceRecord(**{"id": f"{FILE}:{line}", "source": FILE, **fields})
