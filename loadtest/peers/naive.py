"""Plain transformers behind FastAPI, padded, no batching across requests (`naive_server.py`)."""

from typing import Any

from loadtest.peers.contract import Call, Peer, Rewards, one_model, wholes
from loadtest.workloads import Request


def _call(request: Request, _: str) -> Call:
    return Call("/score", {"texts": wholes(request)})


def _read(reply: Any, _: Request) -> Rewards:
    return one_model(reply["rewards"])


PEER = Peer(
    name="naive",
    call=_call,
    read=_read,
    command=(
        *("{python}", "-m", "loadtest.peers.naive_server", "{model}"),
        *("--port", "{port}", "--threads", "{threads}"),
    ),
    needs="fastapi uvicorn torch transformers",
    note="one padded forward a request, in a thread of its own",
)
