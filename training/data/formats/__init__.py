"""Preference data as it lies on disk, in many formats, detected by their keys.

A new format is a row of `columns.COLUMN_FORMATS`; where it is more than its columns, a module with
a `Format` and its line in `registry.formats_for`.
"""

from training.data.formats.reading import read_records
from training.data.formats.registry import FORMATS, Format, detect_format, format_named

__all__ = ["FORMATS", "Format", "detect_format", "format_named", "read_records"]
