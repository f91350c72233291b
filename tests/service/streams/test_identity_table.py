"""Which state a file is, and how many commits it holds."""

import sqlite3
from collections.abc import Iterator

import pytest

from service.streams import identity_table
from service.streams.faults import StateDamaged


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(identity_table.SCHEMA)
    yield connection
    connection.close()


def test_a_state_keeps_its_name_and_counts_its_commits(connection: sqlite3.Connection) -> None:
    identity_table.create(connection, clock=None)
    first = identity_table.read(connection)
    identity_table.committing(connection, first, clock=5.0)
    second = identity_table.read(connection)

    assert len(first.name) == 32
    assert (first.commits, first.clock) == (0, None)
    assert (second.name, second.commits, second.clock) == (first.name, 1, 5.0)


def test_two_states_have_two_names(connection: sqlite3.Connection) -> None:
    names = set()
    for _ in range(2):
        identity_table.create(connection, clock=None)
        names.add(identity_table.read(connection).name)

    assert len(names) == 2


def test_one_that_is_gone_or_changed_is_refused(connection: sqlite3.Connection) -> None:
    with pytest.raises(StateDamaged, match="gone"):
        identity_table.read(connection)
    identity_table.create(connection, clock=1.0)
    connection.execute("UPDATE identity SET commits = 7")

    with pytest.raises(StateDamaged):
        identity_table.read(connection)
