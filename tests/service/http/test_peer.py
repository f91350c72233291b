import asyncio

import pytest

from service.http.peer import Peer, peer_of, state_with


def nothing() -> None:
    pass


async def test_requests_of_a_connection_know_its_peer_and_keep_their_own_state():
    peer = Peer(nothing, nothing)

    assert peer_of({"state": state_with(peer, {"other": 1})}) is peer
    assert state_with(peer, {"other": 1})["other"] == 1


def test_an_app_without_a_socket_knows_no_peer():
    assert peer_of({}) is None
    assert peer_of({"state": {}}) is None


@pytest.mark.parametrize(
    ("between", "by_reset", "told"),
    [
        ("nothing", True, ["lost"]),
        ("nothing", False, []),
        ("the next request", True, []),
        ("a while", True, []),
    ],
)
async def test_an_answer_is_lost_where_its_connection_is_reset_soon(
    between: str, by_reset: bool, told: list[str]
):
    peer = Peer(nothing, nothing)
    heard: list[str] = []
    peer.when_lost(lambda: heard.append("earlier"), within_seconds=60)
    peer.when_lost(lambda: heard.append("lost"), within_seconds=0.0 if between == "a while" else 60)
    if between == "the next request":
        peer.asks()
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    peer.end(by_reset=by_reset)
    peer.end(by_reset=by_reset)

    assert heard == told
    assert peer.gone.is_set()


def test_a_peer_hears_until_its_connection_is_ending_or_has_ended():
    ending: list[str] = []
    peer, gone = Peer(nothing, nothing, lambda: bool(ending)), Peer(nothing, nothing)
    assert peer.hears

    ending.append("its side has closed")
    gone.end(by_reset=False)

    assert not peer.hears
    assert not gone.hears
