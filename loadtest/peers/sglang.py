"""SGLang with --is-embedding: POST /classify, the reward as a one-dimensional embedding."""

from typing import Any

from loadtest.peers.contract import Call, Peer, Rewards, one_model, wholes
from loadtest.workloads import Request


def _call(request: Request, model: str) -> Call:
    return Call("/classify", {"model": model, "text": wholes(request)})


def _read(reply: Any, _: Request) -> Rewards:
    entries = reply if isinstance(reply, list) else [reply]
    return one_model([entry["embedding"][0] for entry in entries])


PEER = Peer(
    name="sglang",
    call=_call,
    read=_read,
    note="its radix cache remembers texts; a Llama without EOS at the end is scored 1",
)
