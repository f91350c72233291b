"""Preference data from wherever it lies to records, with every row that could not be used named."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from training.data.accounting import Malformed, MixtureCounts
from training.data.formats.files import Row
from training.data.formats.options import FormatOptions
from training.data.formats.registry import Format, GroupingFormat, detect_format, format_named
from training.data.formats.sources import Part, parts_of, with_labels
from training.data.formats.writer import Source, parsed_source
from training.data.records import PreferenceRecord
from training.errors import DataError, MalformedRow, UnusableRow

TOLERATED_ROWS = 20
TOLERATED_SHARE = 0.01
"""How many malformed rows a part may have where nobody said: so many, or this share of its rows."""


@dataclass(frozen=True, slots=True)
class ReadRecords:
    """What the files held.

    Attributes:
        records: usable records, in file order.
        unusable: (reason, record id) of rows that a format set aside.
        formats: format name of each file, by path; several are joined by a comma.
        malformed: rows that could not be read.
        mixture: what a mixture drew of them; None: all of them.
        num_undrawn: records that it left.
    """

    records: tuple[PreferenceRecord, ...]
    unusable: tuple[tuple[str, str], ...]
    formats: Mapping[str, str]
    malformed: tuple[Malformed, ...] = ()
    mixture: MixtureCounts | None = None
    num_undrawn: int = 0

    @property
    def num_rows(self) -> int:
        """Records, those that were not drawn, and rows that became none."""
        used = len(self.records) + self.num_undrawn
        return used + len(self.unusable) + len(self.malformed)


def read_records(
    places: Sequence[Path | str | Source],
    *,
    format_name: str | None = None,
    options: FormatOptions | None = None,
    max_malformed: int | None = None,
    whole_names: bool = False,
) -> ReadRecords:
    """Read preference data; each file's format is told by its first whole row.

    Args:
        places: files, folders, datasets saved by `datasets`, hub names, as paths or as users write
            them: `PLACE[@PART][,key=value…]`.
        format_name: read what names no format of its own as this one instead of detecting it.
        options: what the rows themselves don't say, nor the places.
        max_malformed: stop a file with more malformed rows than this; None: more than
            `TOLERATED_ROWS`, and than `TOLERATED_SHARE` of what was read of it.
        whole_names: name rows by their file's whole path also where its name alone would do.

    Raises:
        DataError: a place holds no data, nothing in it can be used, or so many of its rows are
            malformed that its format must be another one; file and line are named.
        ConfigurationError: a place is written with a setting that can't be meant.
    """
    options = options or FormatOptions()
    parts: list[Part] = []
    for place in places:
        source = _source(place, options)
        layout = source.format or format_name
        if layout:
            format_named(layout)
        parts += (
            replace(part, format=layout, side=source.split)
            for part in parts_of(source.place, source.options)
        )
    found = _Found()
    for part, label in with_labels(parts, whole=whole_names):
        _PartReader(part, label, found, max_malformed).read()
    read = ReadRecords(
        tuple(found.records), tuple(found.unusable), found.formats, tuple(found.malformed)
    )
    if not read.records:
        raise DataError(_nothing(parts, read))
    return read


def _source(place: Path | str | Source, options: FormatOptions) -> Source:
    if isinstance(place, Source):
        return place
    if isinstance(place, str):
        return parsed_source(place, options=options)
    return Source(place=str(place), options=options)


@dataclass(slots=True)
class _Found:
    records: list[PreferenceRecord] = field(default_factory=list)
    unusable: list[tuple[str, str]] = field(default_factory=list)
    formats: dict[str, str] = field(default_factory=dict)
    malformed: list[Malformed] = field(default_factory=list)


class _PartReader:
    """Reads one part into what was found so far."""

    def __init__(
        self,
        part: Part,
        label: str,
        found: _Found,
        max_malformed: int | None,
    ) -> None:
        self._part = part
        self._label = printable(label)
        self._found = found
        self._layout = format_named(part.format, part.options) if part.format else None
        self._limit = max_malformed
        self._num_rows = 0
        self._num_malformed = 0

    def read(self) -> None:
        group: list[Row] = []
        for row in self._rows():
            if group and not self._continues(group, row):
                self._record(group)
                group = []
            group.append(row)
            if not isinstance(self._layout, GroupingFormat):
                self._record(group)
                group = []
        if group:
            self._record(group)

    def _rows(self) -> Iterator[Row]:
        """The part's rows, from when its format is known or its first rows are all malformed.

        Rows before that are held back: a format over several rows counts the broken ones too.
        """
        held: list[Row] = []
        for row in self._part.rows(self._label):
            self._num_rows += 1
            known = self._known(row)
            held.append(known)
            if self._layout is not None or len(held) > TOLERATED_ROWS:
                yield from held
                held = []
        yield from held

    def _known(self, row: Row) -> Row:
        """The row, as malformed where no format knows it; the first that one knows decides."""
        if self._layout is None and row.value is not None:
            try:
                self._layout = detect_format(row.value, self._part.options)
            except MalformedRow as problem:
                return Row(row.where, None, problem.problem)
        return row

    def _continues(self, group: Sequence[Row], row: Row) -> bool:
        layout = self._layout
        return (
            isinstance(layout, GroupingFormat)
            and len(group) < layout.most_rows
            and layout.continues(group[-1].value, row.value)
        )

    def _record(self, group: Sequence[Row]) -> None:
        """Parse the rows of one record, or note why not."""
        broken = [row for row in group if row.value is None]
        for row in broken:
            self._note(row.where, row.problem)
        if broken:
            for row in group:
                if row.value is not None:
                    self._note(row.where, f"belongs to {broken[0].where}, which is malformed")
            return
        where = group[0].where
        try:
            self._found.records.append(self._parsed(group, where))
        except UnusableRow as row_is:
            self._found.unusable.append((row_is.reason, where))
        except MalformedRow as problem:
            self._note(where, problem.problem)

    def _parsed(self, group: Sequence[Row], where: str) -> PreferenceRecord:
        layout: Format | None = self._layout
        values = [row.value for row in group if row.value is not None]
        if layout is None or len(values) != len(group):
            raise MalformedRow("no format is known yet")
        self._found.formats[printable(self._part.name)] = layout.name
        source = self._label
        if isinstance(layout, GroupingFormat):
            record = layout.parse_rows(values, id_=where, source=source)
        else:
            record = layout.parse(values[0], id_=where, source=source)
        split = self._part.side or record.split or self._part.split
        record = record if split == record.split else replace(record, split=split)
        return _printable_names(record)

    def _note(self, where: str, problem: str) -> None:
        self._found.malformed.append(Malformed(where, printable(problem)))
        self._num_malformed += 1
        limit = self._limit
        if limit is None:
            limit = max(TOLERATED_ROWS, int(TOLERATED_SHARE * self._num_rows))
        if self._num_malformed > limit:
            own = self._found.malformed[-self._num_malformed :]
            raise MalformedRow(
                f"{self._num_malformed} of the first {self._num_rows} rows of {self._label} are "
                f"malformed, more than the {limit} that are tolerated (`max_malformed`); is its "
                f"format another one? The first: {_listed(own)}"
            )


def printable(name: str) -> str:
    """A name that can be printed and written: what is no valid Unicode stands there escaped.

    JSON knows lone surrogates, and so do file names that are not UTF-8.
    """
    return name if name.isascii() else name.encode(errors="backslashreplace").decode()


def _printable_names(record: PreferenceRecord) -> PreferenceRecord:
    """The record under names that a report can hold; texts stay as they are."""
    names = (record.id, record.source, *record.tags)
    if all(name.isascii() for name in names):
        return record
    id_, source, *tags = map(printable, names)
    return replace(record, id=id_, source=source, tags=tuple(tags))


def _nothing(parts: Sequence[Part], read: ReadRecords) -> str:
    named = ", ".join(part.name for part in parts)
    if read.malformed:
        return f"no row of {named} can be read: {_listed(read.malformed)}"
    if read.unusable:
        reasons = ", ".join(sorted({reason for reason, _ in read.unusable}))
        return f"no row of {named} can be used ({reasons})"
    return f"no rows in {named}"


def _listed(malformed: Sequence[Malformed], most: int = 3) -> str:
    """The first row of each problem, and in how many more it is."""
    by_problem: dict[str, list[Malformed]] = {}
    for row in malformed:
        by_problem.setdefault(row.problem, []).append(row)
    shown = [
        f"{rows[0].where}: {problem}" + (f" (and in {len(rows) - 1} more)" if rows[1:] else "")
        for problem, rows in by_problem.items()
    ]
    return "; ".join(shown[:most]) + ("; …" if len(shown) > most else "")
