"""The state's SQLite file: how it is opened, and what version of tables it holds."""

import sqlite3
from pathlib import Path
from typing import Literal

from rm_core.errors import ConfigurationError
from service.streams import ledger_table as ledger
from service.streams import stream_table as streams

SCHEMA_VERSION = 2
_MIGRATIONS = {1: streams.MIGRATION_TO_2}
APPLICATION_ID = 0x52574444  # "RWDD" in the file's header

Recovery = Literal["clean", "wal_replayed"]


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
            path.parent.mkdir(parents=True, exist_ok=True)
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
        raise ConfigurationError(
            f"{path} is a database of version {version}, and this rewardd reads version "
            f"{SCHEMA_VERSION}; use the rewardd that wrote it, or move the file away to start "
            "without state"
        )
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
