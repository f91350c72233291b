"""The state's SQLite file: how it is opened, and what version of tables it holds."""

import sqlite3
from pathlib import Path
from typing import Literal

from rm_core.errors import ConfigurationError
from service.streams import ledger_table as ledger
from service.streams import stream_table as streams

SCHEMA_VERSION = 2
_MIGRATIONS = {1: streams.MIGRATION_TO_2}
STATE_FILE = "streams.sqlite3"
APPLICATION_ID = 0x52574444  # "RWDD" in the file's header

Recovery = Literal["clean", "wal_replayed"]

_GITIGNORE = "# Made by rewardd: state of a running service belongs to no repository.\n*\n"
_MAGIC = b"SQLite format 3\0"
_VERSION_AT = slice(60, 64)  # PRAGMA user_version in a database's header, big-endian


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

    Raises:
        ConfigurationError: it can't be read, or is no state file of ours, or of a newer rewardd.
    """
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigurationError(
            f"the state file {path} can't be read ({error.strerror}); give it to this user, or "
            "name another directory with --state-dir"
        ) from error
    if header and not header.startswith(_MAGIC):
        raise ConfigurationError(
            f"{path} is no SQLite database; move it away to start without state"
        )
    version = int.from_bytes(header[_VERSION_AT], "big")
    if version not in (0, SCHEMA_VERSION, *_MIGRATIONS):
        raise _other_version(path, version)


def open_database(path: Path | None) -> tuple[sqlite3.Connection, Recovery]:
    """Open or create the file, with every commit on the disk before it is acknowledged.

    Args:
        path: the file; None keeps everything in memory.

    Returns:
        The connection, in autocommit mode: transactions are the caller's to begin and end; and
        whether a write-ahead log was left by a process that did not close.

    Raises:
        ConfigurationError: it can't be opened, is no state file of ours, or is newer than us.
    """
    recovery: Recovery = "clean"
    connection = None
    try:
        if path is not None:
            make_state_directory(path.parent)
            log = path.with_name(path.name + "-wal")
            if log.exists() and log.stat().st_size > 0:
                recovery = "wal_replayed"
        connection = sqlite3.connect(
            path if path is not None else ":memory:",
            isolation_level=None,
            check_same_thread=False,  # the store sees to it that one thread at a time comes
            timeout=10.0,
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        _create(connection, path)
    except (sqlite3.Error, OSError, ConfigurationError) as exc:
        if connection is not None:
            connection.close()
        if isinstance(exc, ConfigurationError):
            raise
        raise ConfigurationError(
            f"the state file {path} can't be opened ({exc}); check that its folder is writable and "
            "on a local disk, or move the file away to start without state"
        ) from exc
    return connection, recovery


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
        f"BEGIN IMMEDIATE;{streams.SCHEMA}{ledger.SCHEMA}"
        f"PRAGMA application_id = {APPLICATION_ID};PRAGMA user_version = {SCHEMA_VERSION};COMMIT;"
    )


def _migrated(connection: sqlite3.Connection, version: int) -> int:
    """Bring the tables from `version` to the next, unless another process was faster."""
    connection.execute("BEGIN IMMEDIATE")
    (current,) = connection.execute("PRAGMA user_version").fetchone()
    if current == version:
        current += 1
        connection.execute(_MIGRATIONS[version])
        connection.execute(f"PRAGMA user_version = {current}")
    connection.execute("COMMIT")
    return int(current)


def _other_version(path: Path | None, version: int) -> ConfigurationError:
    return ConfigurationError(
        f"{path} is a database of version {version}, and this rewardd reads version "
        f"{SCHEMA_VERSION}; use the rewardd that wrote it, or move the file away to start "
        "without state"
    )
