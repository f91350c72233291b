"""What a reply without a key tells the store of itself."""

import asyncio
from typing import Any

import pytest
from fastapi import Response
from starlette.requests import ClientDisconnect
from starlette.types import Message

from service.http.peer import Peer, state_with
from service.http.receipt import Receipt, receipted
from service.streams.unanswered_table import Unanswered


class Store:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, bool]] = []

    async def settle(self, unanswered: Unanswered, *, answered: bool) -> None:
        self.told.append((unanswered.receipt, answered))

    def lose(self, unanswered: Unanswered) -> None:
        self.told.append((unanswered.receipt, False))


def counted(receipt: int) -> Unanswered:
    return Unanswered(b"digest", b"settlement", 1, receipt)


async def waiting() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def gone() -> Message:
    return {"type": "http.disconnect"}


async def broken(message: Message) -> None:
    raise OSError("gone")


async def fine(message: Message) -> None:
    pass


async def test_a_reply_that_cannot_be_written_is_told_and_so_is_one_that_left() -> None:
    store: Any = Store()

    with pytest.raises(OSError, match="gone"):
        await Receipt(Response(b"1"), store, counted(7))({"type": "http"}, waiting, broken)
    with pytest.raises(ClientDisconnect):
        await Receipt(Response(b"1"), store, counted(8))({"type": "http"}, gone, fine)
    await Receipt(Response(b"1"), store, counted(9))({"type": "http"}, waiting, fine)

    assert store.told == [(7, False), (8, False), (9, True)]


async def test_a_reply_whose_connection_is_reset_was_not_read() -> None:
    store: Any = Store()
    late, early = (Peer(lambda: None, lambda: None) for _ in range(2))
    scopes = [{"type": "http", "state": state_with(peer, {})} for peer in (late, early)]

    await Receipt(Response(b"1"), store, counted(7))(scopes[0], waiting, fine)
    late.end(by_reset=True)
    early.end(by_reset=True)
    await Receipt(Response(b"1"), store, counted(8))(scopes[1], waiting, fine)

    assert store.told == [(7, True), (7, False), (8, False)]


async def test_what_no_reply_can_be_made_of_is_given_free() -> None:
    store: Any = Store()

    def impossible() -> Response:
        raise ValueError("no reply")

    with pytest.raises(ValueError, match="no reply"):
        await receipted(impossible, store, counted(7))

    assert store.told == [(7, False)]
    plain = await receipted(lambda: Response(b"1"), store, None)
    assert not isinstance(plain, Receipt)
