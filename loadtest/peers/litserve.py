"""LitServe with its own dynamic batching (`servers/litserve_server.py`, which needs litserve)."""

from pathlib import Path
from typing import Any

from loadtest.peers.contract import Call, Peer, Rewards, one_model, wholes
from loadtest.workloads import Request

SERVER = Path(__file__).parent / "servers" / "litserve_server.py"


def _call(request: Request, _: str) -> Call:
    return Call("/predict", {"texts": wholes(request)})


def _read(reply: Any, _: Request) -> Rewards:
    return one_model(reply["rewards"])


PEER = Peer(
    name="litserve",
    call=_call,
    read=_read,
    command=("{python}", str(SERVER), "{model}", "--port", "{port}", "--threads", "{threads}"),
    needs="litserve torch transformers",
    note="requests that arrive together are padded into one forward, up to 8 requests or 10 ms",
)
