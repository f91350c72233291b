"""Where data lies: files, folders, datasets saved by `datasets`, hub names, dataset_info.json.

A source is written `PLACE[@PART]`: a file, a folder, a folder inside it (or an entry of its
dataset_info.json), or a dataset on the hub with one of its configurations or folders.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from training.data.formats.files import SUFFIXES, Row, rows_of_file, rows_of_table
from training.data.formats.options import FormatOptions
from training.data.formats.splits import declared_splits, split_named
from training.data.rows.open import WORKBOOK, suffix_of
from training.data.rows.table_rows import is_saved_dataset, load_saved_dataset
from training.errors import DataError
from training.types import Split

_DESCRIPTION = "dataset_info.json"  # LLaMA-Factory's, and also datasets' own beside its files
_NO_DATA = {_DESCRIPTION, "dataset_infos.json"}
_CARD = "README.md"


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that lie in one piece and in one format.

    Attributes:
        name: the piece's place, for reports.
        rows: reads it; the label is what it is called in places.
        label: its short name.
        options: as given, with what the place itself adds.
        split: the side that its author put it on.
        side: the side that the user puts it on, whatever its rows say.
        format: what the user says that its format is.
    """

    name: str
    rows: Callable[[str], Iterator[Row]]
    label: str
    options: FormatOptions
    split: Split | None = None
    side: Split | None = None
    format: str | None = None


def parts_of(place: str, options: FormatOptions) -> list[Part]:
    """The pieces of a source, in name order.

    Raises:
        DataError: there is nothing there; the message says what was looked for.
    """
    path, inner = _located(place)
    if path is None:
        return _hub(place, options)
    if path.is_file():
        if inner is not None and suffix_of(path) != WORKBOOK:
            raise DataError(f"{path} is a file, so there is no {inner!r} in it")
        return [_file(path, options, sheet=inner)]
    if inner is not None:
        return _inside(path, inner, options)
    if is_saved_dataset(path):
        return _tables(str(path), path.name, load_saved_dataset(path), options)
    return _folder(path, options)


def _located(place: str) -> tuple[Path | None, str | None]:
    """A path that exists and what is wanted in it; no path where only the hub may know it."""
    if Path(place).exists():
        return Path(place), None
    base, at, inner = place.rpartition("@")
    if at and Path(base).exists():
        return Path(base), inner
    name = base if at else place
    # A name without owner is far more often a mistyped file than one of the hub's oldest sets.
    if name.count("/") != 1 or name.startswith((".", "/", "~")) or name.endswith(SUFFIXES):
        raise DataError(f"{name} does not exist; give a file, a folder, or a hub name: OWNER/NAME")
    return None, inner or None


def _file(
    path: Path, options: FormatOptions, split: Split | None = None, sheet: str | None = None
) -> Part:
    if not path.name.endswith(SUFFIXES):
        raise DataError(f"{path} is none of {', '.join(SUFFIXES)}")
    place = str(path) if sheet is None else f"{path}@{sheet}"
    label = path.name if sheet is None else f"{path.name}@{sheet}"
    return Part(place, partial(rows_of_file, path, sheet=sheet), label, options, split)


def _inside(path: Path, inner: str, options: FormatOptions) -> list[Part]:
    described = _description(path)
    if inner in described:
        return _described(path, inner, described[inner], options)
    if (path / inner).is_dir():
        return parts_of(str(path / inner), options)
    if _has_configurations(path):
        return _loaded(str(path), inner, options, streaming=True)
    known = ", ".join(sorted(described)) or "no dataset_info.json"
    raise DataError(f"{path} holds neither a folder nor an entry {inner!r} ({known})")


def _folder(path: Path, options: FormatOptions) -> list[Part]:
    """The data files of a folder; where none lies in it directly, those further down."""
    files = _data_files(path.iterdir())
    described = _description(path) if not files else {}
    if described:
        raise DataError(f"{path} holds several data sets; choose one: {path}@{min(described)}")
    if not files and _has_configurations(path):
        return _loaded(str(path), None, options, streaming=True)
    files = files or _data_files(path.rglob("*"))
    if not files:
        raise DataError(f"{path} holds no {', '.join(SUFFIXES)} file")
    # On the hub the split is the file's name, or the name of the folder that it is in.
    names = {
        file: file.name if split_named(file.name) or file.parent == path else file.parent.name
        for file in files
    }
    sides = declared_splits(names.values())
    return [
        replace(
            _file(file, options, sides.get(names[file])), label=file.relative_to(path).as_posix()
        )
        for file in files
    ]


def _data_files(paths: Iterable[Path]) -> list[Path]:
    return sorted(
        path
        for path in paths
        if path.name.endswith(SUFFIXES)
        and path.name not in _NO_DATA
        and not path.name.startswith(".")
    )


def _has_configurations(path: Path) -> bool:
    """Whether a folder's card says which files make which data set, as cards on the hub do."""
    card = path / _CARD
    return card.is_file() and "\nconfigs:" in card.read_text("utf-8", errors="replace")


def _description(path: Path) -> Mapping[str, Any]:
    """LLaMA-Factory's dataset_info.json: its ranking data sets by name; empty where it is none."""
    file = path / _DESCRIPTION
    if not file.is_file():
        return {}
    try:
        entries = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} can't be read as JSON: {type(error).__name__}") from error
    if not isinstance(entries, dict):
        return {}
    return {
        name: entry
        for name, entry in entries.items()
        if isinstance(entry, dict) and {"file_name", "hf_hub_url"} & entry.keys()
    }


def _described(
    path: Path, name: str, entry: Mapping[str, Any], options: FormatOptions
) -> list[Part]:
    columns, tags = entry.get("columns") or {}, entry.get("tags") or {}
    if not entry.get("ranking") and "kto_tag" not in columns:
        raise DataError(f"{path / _DESCRIPTION}: {name!r} has neither `ranking` nor a `kto_tag`")
    options = replace(options, columns=columns, tags=tags)
    if "hf_hub_url" in entry:
        inner = entry.get("subset") or entry.get("folder")
        return _loaded(str(entry["hf_hub_url"]), inner, options)
    return parts_of(str(path / str(entry["file_name"])), options)


def _hub(place: str, options: FormatOptions) -> list[Part]:
    name, _, inner = place.partition("@")
    return _loaded(name, inner or None, options)


def _loaded(
    name: str, inner: str | None, options: FormatOptions, *, streaming: bool = False
) -> list[Part]:
    """A dataset by its hub name, from the cache where it is, or a local folder in hub layout.

    Args:
        name: of the dataset, or the folder.
        inner: one of its configurations, or a folder in it.
        options: what the rows themselves don't say.
        streaming: leave no copy in the cache.
    """
    import datasets

    try:
        try:
            loaded = datasets.load_dataset(name, inner, streaming=streaming)
        except ValueError as error:
            if inner is None or "BuilderConfig" not in str(error):
                raise
            loaded = datasets.load_dataset(name, data_dir=inner, streaming=streaming)
    except Exception as error:  # the library and what it stands on raise kinds of many bases
        # Two lines: the second names the configurations where one must be chosen.
        reason = " ".join([f"{type(error).__name__}:", *str(error).splitlines()[:2]])
        raise DataError(
            f"{name} is neither here nor to be had as a data set of the hub ({reason}). Give a "
            "file or folder, a name that the hub knows, or NAME@CONFIGURATION"
        ) from error
    return _tables(name, Path(name).name, loaded, options)


def _tables(name: str, label: str, loaded: Any, options: FormatOptions) -> list[Part]:
    if not isinstance(loaded, dict):
        return [Part(name, partial(_table_rows, loaded, name), label, options)]
    sides = declared_splits(loaded)
    return [
        Part(
            f"{name}/{split}",
            partial(_table_rows, table, name),
            f"{label}/{split}",
            options,
            sides.get(split),
        )
        for split, table in loaded.items()
    ]


def _table_rows(table: Any, name: str, label: str) -> Iterator[Row]:
    try:
        yield from rows_of_table(table, label)
    except DataError:
        raise
    except Exception as error:  # what datasets stands on raises kinds of many bases
        raise DataError(f"{name} can't be read by datasets: {type(error).__name__}") from error


def with_labels(parts: list[Part], *, whole: bool = False) -> Iterator[tuple[Part, str]]:
    """Each part with a label that no other part has: its short name, or its whole place.

    Args:
        parts: of all sources that are read together.
        whole: always the whole place.
    """
    labels = [part.label for part in parts]
    for part in parts:
        yield part, part.name if whole or labels.count(part.label) > 1 else part.label
