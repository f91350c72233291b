import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from service.edge.hang_ups import HangUps
from tests.service.rig import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no epoll")


@contextmanager
def watching() -> Iterator[HangUps]:
    hang_ups = HangUps()
    try:
        yield hang_ups
    finally:
        hang_ups.close()


@pytest.mark.parametrize("before", [True, False])
async def test_an_end_is_told_though_bytes_before_it_are_unread(*, before: bool) -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(b"unread")
    told: list[str] = []
    with watching() as hang_ups, ours:
        if before:
            theirs.close()
        hang_ups.watch(ours.fileno(), lambda: told.append("gone"))
        theirs.close()
        await until(lambda: told)

    assert told == ["gone"]


async def test_who_is_not_watched_any_more_is_not_told_of_and_others_are() -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    told: list[int] = []
    with watching() as hang_ups:
        for number, (ours, _) in enumerate(pairs):
            hang_ups.watch(ours.fileno(), lambda number=number: told.append(number))
        hang_ups.forget(pairs[0][0].fileno())
        hang_ups.forget(pairs[0][0].fileno())
        for _, theirs in pairs:
            theirs.close()
        await until(lambda: told)
        for ours, _ in pairs:
            ours.close()

    assert told == [1]


async def test_where_there_is_no_epoll_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("select.epoll")
    ours, theirs = socket.socketpair()
    with watching() as hang_ups, ours, theirs:
        hang_ups.watch(ours.fileno(), lambda: pytest.fail("told"))
        hang_ups.forget(ours.fileno())
