"""Which formats there are, and which of them a row is in."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from training.data.formats.arena import ArenaFormat
from training.data.formats.canonical import CanonicalFormat
from training.data.formats.columns import COLUMN_FORMATS
from training.data.formats.helpsteer import HelpSteer2Format
from training.data.formats.hh_rlhf import HhRedTeamFormat, HhRlhfFormat
from training.data.formats.llama_factory import LlamaFactoryFormat, LlamaFactoryV1Format
from training.data.formats.nemo import NemoPairsFormat, NemoRegressionFormat, NemoRlFormat
from training.data.formats.openrlhf import OpenRlhfFormat
from training.data.formats.options import FormatOptions
from training.data.formats.steps import ProcessStepsFormat, StepwiseFormat
from training.data.formats.token_ids import TokenIdsFormat
from training.data.formats.trl import TrlConversationalFormat, TrlImplicitFormat
from training.data.formats.ultrafeedback import BinarizedFormat, UltraFeedbackFormat
from training.data.formats.unknown import why_unknown
from training.data.formats.unranked import UnrankedFormat
from training.data.records import PreferenceRecord
from training.errors import DataError, MalformedRow


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


@runtime_checkable
class GroupingFormat(Format, Protocol):
    """A format whose records lie over several rows that follow each other."""

    @property
    def most_rows(self) -> int:
        """Rows of one record at most."""
        ...

    def continues(self, before: Mapping[str, Any] | None, row: Mapping[str, Any] | None) -> bool:
        """Whether a row belongs to the record of the row before.

        Args:
            before: the row before; None where it was malformed.
            row: the row in question; None where it was malformed.
        """
        ...

    def parse_rows(
        self, rows: Sequence[Mapping[str, Any]], *, id_: str, source: str
    ) -> PreferenceRecord:
        """The rows as one canonical record; raises as `Format.parse` does."""
        ...


def formats_for(options: FormatOptions) -> tuple[Format, ...]:
    """All formats, the more particular before the more general: the first match wins."""
    of_columns = {name: layout.under(options) for name, layout in COLUMN_FORMATS.items()}
    return (
        OpenRlhfFormat(options),  # matches only where the user named the columns
        TokenIdsFormat(options),
        NemoRlFormat(),
        UltraFeedbackFormat(options),
        StepwiseFormat(options),
        ProcessStepsFormat(options),
        of_columns["pku-saferlhf"],
        of_columns["helpsteer3"],
        of_columns["helpsteer2-preference"],
        HelpSteer2Format(options),
        of_columns["openai-summarize"],
        of_columns["lm-human-preferences"],
        of_columns["nectar"],
        of_columns["alpaca-farm"],
        ArenaFormat(),
        HhRedTeamFormat(),
        NemoRegressionFormat(options),
        NemoPairsFormat(),
        CanonicalFormat(),
        BinarizedFormat(),
        LlamaFactoryV1Format(),
        LlamaFactoryFormat(options),
        HhRlhfFormat(),
        of_columns["ds-chat"],
        TrlConversationalFormat(),
        of_columns["trl-explicit"],
        of_columns["trl-unpaired"],
        TrlImplicitFormat(),
        UnrankedFormat(),
    )


FORMATS: tuple[Format, ...] = formats_for(FormatOptions())
"""Every format as it is without options."""


def format_named(name: str, options: FormatOptions | None = None) -> Format:
    """The format of that name.

    Raises:
        DataError: no such format; the message lists those that exist.
    """
    for candidate in formats_for(options) if options else FORMATS:
        if candidate.name == name:
            return candidate
    raise DataError(
        f"no format is named {name!r}; choose from {', '.join(f.name for f in FORMATS)}"
    )


def detect_format(row: Mapping[str, Any], options: FormatOptions | None = None) -> Format:
    """The first format that a row matches.

    Raises:
        MalformedRow: none; the message says what the nearest layout lacks.
    """
    for candidate in formats_for(options) if options else FORMATS:
        if candidate.matches(row):
            return candidate
    raise MalformedRow(why_unknown(row))
