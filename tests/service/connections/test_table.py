import asyncio

from service.connections.deadlines import Phase
from service.connections.limits import RESERVED_PLACES, ConnectionLimits
from service.connections.metrics import ConnectionMetrics
from service.connections.table import Connections
from service.observability.metrics import Metrics
from tests.service.rig import until

LIMITS = ConnectionLimits(
    connections=2,
    header_bytes=4096,
    url_bytes=2048,
    header_seconds=0.01,
    body_seconds=60.0,
    idle_seconds=60.0,
    write_seconds=0.01,
)


def table_of() -> Connections:
    metrics = Metrics()
    return Connections(LIMITS, metrics, ConnectionMetrics(metrics.registry, lambda: 0.0))


class Peer:
    """A connection that notes what is asked of it."""

    def __init__(self, table: Connections, phase: Phase | None = None) -> None:
        self.phase: Phase | None = None
        self.told: list[str] = []
        self.unread = 0
        self._table = table
        self.has_place = table.admit(self)
        table.deadlines.enter(self, phase)

    def overdue(self, phase: Phase) -> None:
        self.told.append(phase.value)
        self._table.forget(self)

    def give_way(self) -> None:
        self.told.append("give way")

    def unread_bytes(self) -> int:
        return self.unread

    def cut(self) -> None:
        self.told.append("cut")


async def test_the_oldest_idle_connection_gives_way_and_busy_ones_never_do():
    table = table_of()
    busy, idle = Peer(table), Peer(table, Phase.IDLE)

    new = Peer(table)

    assert (busy.told, idle.told, new.has_place) == ([], ["give way"], True)
    assert not Peer(table).has_place  # two are busy now


async def test_reserved_places_are_given_to_whoever_came_last():
    table = table_of()
    for _ in range(LIMITS.connections):
        Peer(table)
    reserved = [Peer(table, Phase.HEADERS) for _ in range(RESERVED_PLACES)]

    Peer(table)

    assert [peer.has_place for peer in reserved] == [False] * RESERVED_PLACES
    assert [peer.told for peer in reserved[:2]] == [["cut"], []]


async def test_who_is_late_is_told_and_the_others_are_not():
    table = table_of()
    late, idle = Peer(table, Phase.HEADERS), Peer(table, Phase.IDLE)

    await until(lambda: late.told)

    assert (late.told, idle.told) == (["headers"], [])


async def test_who_takes_nothing_of_its_reply_is_cut_and_who_takes_some_is_not():
    table = table_of()
    deaf, slow = Peer(table), Peer(table)
    deaf.unread = slow.unread = 1_000_000
    table.writing_paused(deaf)
    table.writing_paused(slow)
    slow.unread = 800_000

    await until(lambda: deaf.told)

    assert (deaf.told, slow.told) == (["cut"], [])


async def test_nothing_runs_on_when_the_last_connection_is_gone():
    table = table_of()
    peer = Peer(table)
    table.forget(peer)

    await until(lambda: table._tick is None)

    assert asyncio.all_tasks() == {asyncio.current_task()}
