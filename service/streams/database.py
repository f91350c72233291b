"""The state's SQLite file: how it is opened, and what version of tables it holds."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rm_core.errors import ConfigurationError, RewardError
from service.streams import identity_table, row_check
from service.streams import ledger_table as ledger
from service.streams import stream_table as streams
from service.streams import unanswered_table as unanswered
from service.streams.faults import Fault, StateDamaged, StateLost
from service.streams.marker import Marked, marker_of

SCHEMA_VERSION = 3
_MIGRATIONS: dict[int, Sequence[str]] = {
    1: streams.MIGRATION_TO_2,
    2: (*streams.MIGRATION_TO_3, *ledger.MIGRATION_TO_3, *unanswered.MIGRATION_TO_3),
}
_NAMED_SINCE = 3  # the first version whose files have a name
_CHECKED = (
    ("stream", streams.CELLS),
    ("counted_item", streams.ITEM_CELLS),
    ("ledger", ledger.CELLS),
    ("unanswered", unanswered.CELLS),
)
STATE_FILE = "streams.sqlite3"
APPLICATION_ID = 0x52574444  # "RWDD" in the file's header

Recovery = Literal["clean", "wal_replayed"]

_GITIGNORE = "# Made by rewardd: state of a running service belongs to no repository.\n*\n"
_MAGIC = b"SQLite format 3\0"
# In a database's header, big-endian: PRAGMA user_version, PRAGMA application_id.
_VERSION_AT, _OWNER_AT = slice(60, 64), slice(68, 72)


def make_state_directory(directory: Path) -> None:
    """Make the state's directory, one that git ignores; what else lies in it is left alone.

    Raises:
        OSError: it can't be made or written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    # Not in a directory that somebody keeps other things in.
    is_ours = all(STATE_FILE in entry.name for entry in directory.iterdir())
    if is_ours:
        (directory / ".gitignore").write_text(_GITIGNORE, encoding="utf-8")


def check_database(path: Path) -> None:
    """Refuse a state file that could not be opened, by its header alone.

    Opening it would take over what a process left that was killed, and hide that from the metrics.
    A file that is known to have been ours and isn't any more is the store's to tell: what needs no
    state is served beside it.

    Raises:
        ConfigurationError: it can't be read, or is no state file of ours, or of a newer rewardd.
    """
    try:
        header = _header(path)
    except OSError as error:
        raise ConfigurationError(
            f"the state file {path} can't be read ({error.strerror}); give it to this user, or "
            "name another directory with --state-dir"
        ) from error
    if header and not header.startswith(_MAGIC):
        if marker_of(path).exists():
            return
        raise ConfigurationError(
            f"{path} is no SQLite database; move it away to start without state"
        )
    version = int.from_bytes(header[_VERSION_AT], "big")
    if version not in (0, SCHEMA_VERSION, *_MIGRATIONS):
        raise _other_version(path, version)


def has_been_here(path: Path) -> bool:
    """Whether there is or was a state file of ours: what fails then is a fault, not a setting."""
    try:
        owner = int.from_bytes(_header(path)[_OWNER_AT], "big")
        return marker_of(path).exists() or owner == APPLICATION_ID
    except OSError:
        return False


def open_database(path: Path | None) -> tuple[sqlite3.Connection, Recovery]:
    """Open or create the file, with every commit on the disk before it is acknowledged.

    Args:
        path: the file; None keeps everything in memory.

    Returns:
        The connection, in autocommit mode: transactions are the caller's to begin and end; and
        whether a write-ahead log was left by a process that did not close.

    Raises:
        ConfigurationError: it can't be opened, is no state file of ours, or is newer than us.
        StateLost: there was a state that this file does not hold.
        StateDamaged: the file is not what was written.
        sqlite3.Error, OSError: a file that was ours can't be opened now.
    """
    recovery: Recovery = "clean"
    connection = None
    marked = None
    try:
        if path is not None:
            make_state_directory(path.parent)
            marked = Marked.read(marker_of(path))
            log = path.with_name(path.name + "-wal")
            if log.exists() and log.stat().st_size > 0:
                recovery = "wal_replayed"
            if marked is not None or recovery == "wal_replayed":
                _require_file(path)
        connection = sqlite3.connect(
            path if path is not None else ":memory:",
            isolation_level=None,
            check_same_thread=False,  # the store sees to it that one thread at a time comes
            timeout=10.0,
        )
        row_check.teach(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        _require_whole(connection)
        _create(connection, path)
        _require_rows(connection)
        _require_marked(connection, marked)
    except (sqlite3.Error, OSError, UnicodeDecodeError, RewardError) as exc:
        if connection is not None:
            connection.close()
        if isinstance(exc, RewardError):
            raise
        if path is not None and has_been_here(path):
            if (
                Fault.of(exc).kind == "error"
            ):  # tables that aren't as they were made, or their names
                raise StateDamaged(f"the state file can't be read: {exc}") from exc
            raise
        raise ConfigurationError(
            f"the state file {path} can't be opened ({exc}); check that its folder is writable and "
            "on a local disk, or move the file away to start without state"
        ) from exc
    return connection, recovery


def _header(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(100)
    except FileNotFoundError:
        return b""


def _require_file(path: Path) -> None:
    """Don't take an empty or vanished file for a new one where there is evidence of one."""
    if not path.exists():
        raise StateLost(f"there was a state file {path.name}, and it is gone")
    if path.stat().st_size == 0:
        raise StateLost(f"there was a state in {path.name}, and it is empty")


def _require_marked(connection: sqlite3.Connection, marked: Marked | None) -> None:
    if marked is None:
        return
    identity = identity_table.read(connection)
    if identity.name != marked.name:
        raise StateLost("the state file is another one than its marker belongs to")
    if identity.commits < marked.commits:
        raise StateLost(
            f"{marked.commits - identity.commits} of the state's {marked.commits} commits are gone"
        )


def _require_whole(connection: sqlite3.Connection) -> None:
    """Have SQLite compare every page and index of the file."""
    (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise StateDamaged(f"SQLite's check of the state file says: {found}")


def _require_rows(connection: sqlite3.Connection) -> None:
    """Compare every row with its check."""
    for table, cells in _CHECKED:
        wrong = connection.execute(
            f"SELECT 1 FROM {table} WHERE row_check"  # noqa: S608 (constants of our own)
            f" IS NOT {row_check.FUNCTION}({cells}) LIMIT 1"
        ).fetchone()
        if wrong:
            raise StateDamaged(f"a row of the table {table} is not what was written into it")
    identity_table.read(connection)


def _create(connection: sqlite3.Connection, path: Path | None) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    while owner == APPLICATION_ID and version in _MIGRATIONS:
        version = _migrated(connection, version)
    if version == SCHEMA_VERSION:
        return
    (num_tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if version != 0 or num_tables:
        raise _other_version(path, version)
    connection.executescript(
        f"BEGIN IMMEDIATE;{streams.SCHEMA}{ledger.SCHEMA}{unanswered.SCHEMA}"
        f"{identity_table.SCHEMA}"
        f"PRAGMA application_id = {APPLICATION_ID};PRAGMA user_version = {SCHEMA_VERSION};"
    )
    identity_table.create(connection, clock=None)
    connection.execute("COMMIT")


def _migrated(connection: sqlite3.Connection, version: int) -> int:
    """Bring the tables from `version` to the next, unless another process was faster."""
    connection.execute("BEGIN IMMEDIATE")
    (current,) = connection.execute("PRAGMA user_version").fetchone()
    if current == version:
        current += 1
        for statement in _MIGRATIONS[version]:
            connection.execute(statement)
        if current == _NAMED_SINCE:
            _name(connection)
        connection.execute(f"PRAGMA user_version = {current}")
    connection.execute("COMMIT")
    return int(current)


def _name(connection: sqlite3.Connection) -> None:
    """Name a file from before files had names; its time goes on from its newest row."""
    connection.execute(identity_table.SCHEMA)
    (newest,) = connection.execute(
        "SELECT max(created) FROM"
        " (SELECT created FROM ledger UNION ALL SELECT created FROM unanswered)"
    ).fetchone()
    identity_table.create(connection, clock=newest)


def _other_version(path: Path | None, version: int) -> ConfigurationError:
    return ConfigurationError(
        f"{path} is a database of version {version}, and this rewardd reads version "
        f"{SCHEMA_VERSION}; use the rewardd that wrote it, or move the file away to start "
        "without state"
    )
