"""The servers that can be measured, by name."""

from loadtest.errors import LoadTestError
from loadtest.peers.adapters import ADAPTERS
from loadtest.peers.contract import Peer, Rewards

__all__ = ["PEERS", "Peer", "Rewards", "peer_named"]

PEERS: dict[str, Peer] = {peer.name: peer for peer in ADAPTERS}


def peer_named(name: str) -> Peer:
    """The adapter of that name.

    Raises:
        LoadTestError: there is none.
    """
    if name not in PEERS:
        raise LoadTestError(f"no adapter named {name}; there are: {', '.join(PEERS)}")
    return PEERS[name]
