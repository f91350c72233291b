"""The servers that can be measured, by name. None of them is a dependency."""

from loadtest.errors import LoadTestError
from loadtest.peers import infinity, litserve, naive, openrlhf, rewardd, sglang, tei, vllm
from loadtest.peers.contract import Call, Peer, Rewards

__all__ = ["PEERS", "Call", "Peer", "Rewards", "peer_named"]

PEERS: dict[str, Peer] = {
    module.PEER.name: module.PEER
    for module in (rewardd, naive, openrlhf, infinity, litserve, vllm, sglang, tei)
}


def peer_named(name: str) -> Peer:
    """The adapter of that name.

    Raises:
        LoadTestError: there is none.
    """
    if name not in PEERS:
        raise LoadTestError(f"no adapter named {name}; there are: {', '.join(PEERS)}")
    return PEERS[name]
