import shutil
import sqlite3
from pathlib import Path

import pytest

from rm_core.errors import ConfigurationError
from service.streams.database import APPLICATION_ID, SCHEMA_VERSION, open_database


def test_a_new_file_carries_its_version_and_name(tmp_path: Path) -> None:
    connection, recovery = open_database(tmp_path / "deep" / "er" / "state.sqlite3")

    assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert recovery == "clean"
    connection.close()


def test_opening_it_again_changes_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        connection, recovery = open_database(tmp_path / "state.sqlite3")
        connection.close()

    assert recovery == "clean"


def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    connection, _ = open_database(path)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()

    with pytest.raises(ConfigurationError, match="use the rewardd that wrote it"):
        open_database(path)


def test_somebody_elses_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE precious (x)")
    foreign.close()

    with pytest.raises(ConfigurationError):
        open_database(path)


def test_a_folder_that_cant_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigurationError, match="writable"):
        open_database(tmp_path / "file" / "state.sqlite3")


def test_what_a_killed_process_left_in_its_log_is_replayed_and_told(tmp_path: Path) -> None:
    path, copied = tmp_path / "state.sqlite3", tmp_path / "copied.sqlite3"
    connection, _ = open_database(path)
    connection.execute("CREATE TABLE written (x)")
    for suffix in ("", "-wal"):  # as a kill would leave them: nothing was folded or closed
        shutil.copy(f"{path}{suffix}", f"{copied}{suffix}")
    connection.close()

    connection, recovery = open_database(copied)

    assert recovery == "wal_replayed"
    assert connection.execute("SELECT count(*) FROM written").fetchone() == (0,)
    connection.close()


def test_commits_wait_for_the_disk(tmp_path: Path) -> None:
    connection, _ = open_database(tmp_path / "state.sqlite3")

    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
