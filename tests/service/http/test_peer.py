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
