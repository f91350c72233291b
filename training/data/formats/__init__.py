"""Preference data as it lies on disk: one module per format, detected by its keys.

A new format is a module with an instance of `Format`, and its line in `registry.FORMATS`.
"""

from training.data.formats.reading import read_records
from training.data.formats.registry import FORMATS, Format, detect_format, format_named

__all__ = ["FORMATS", "Format", "detect_format", "format_named", "read_records"]
