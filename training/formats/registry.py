"""Which formats there are, and which of them a row is in."""

from collections.abc import Mapping
from typing import Any, Protocol

from training.errors import DataError, MalformedRow
from training.formats.canonical import CanonicalFormat
from training.formats.hh_rlhf import HhRlhfFormat
from training.formats.trl import TrlConversationalFormat, TrlExplicitFormat, TrlImplicitFormat
from training.records import PreferenceRecord


class Format(Protocol):
    """How one project writes preferences down."""

    @property
    def name(self) -> str:
        """What `--format` calls it."""
        ...

    @property
    def keys(self) -> str:
        """The keys that a row has, for messages and docs."""
        ...

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether a row looks like this format; only its shape is looked at."""
        ...

    def parse(self, row: Mapping[str, Any], *, id_: str, source: str) -> PreferenceRecord:
        """The row as a canonical record.

        Args:
            row: one JSON object.
            id_: the record's name where the row has none of its own.
            source: the record's origin where the row has none of its own.

        Raises:
            MalformedRow: the row breaks its format.
            UnusableRow: the row is whole but holds no usable comparison.
        """
        ...


FORMATS: tuple[Format, ...] = (
    CanonicalFormat(),
    HhRlhfFormat(),
    TrlConversationalFormat(),
    TrlExplicitFormat(),
    TrlImplicitFormat(),
)
"""All formats, the more particular before the more general: the first match wins."""


def format_named(name: str) -> Format:
    """The format of that name.

    Raises:
        DataError: no such format; the message lists those that exist.
    """
    for candidate in FORMATS:
        if candidate.name == name:
            return candidate
    raise DataError(
        f"no format is named {name!r}; choose from {', '.join(f.name for f in FORMATS)}"
    )


def detect_format(row: Mapping[str, Any]) -> Format:
    """The first format that a row matches.

    Raises:
        MalformedRow: none; the message lists what would be understood.
    """
    for candidate in FORMATS:
        if candidate.matches(row):
            return candidate
    found = ", ".join(sorted(str(key) for key in row)[:12]) or "none"
    understood = "; ".join(f"{f.name}: {f.keys}" for f in FORMATS)
    raise MalformedRow(f"unknown format with the keys {found}. Understood are {understood}")
