"""Text Embeddings Inference: POST /predict with raw scores; encoders only for one-label models."""

from typing import Any

from loadtest.peers.contract import Call, Peer, Rewards, one_model, wholes
from loadtest.workloads import Request


def _call(request: Request, _: str) -> Call:
    # One inner list a text: two strings in it would be a pair.
    inputs = [[whole] for whole in wholes(request)]
    return Call("/predict", {"inputs": inputs, "raw_scores": True, "truncate": False})


def _read(reply: Any, _: Request) -> Rewards:
    return one_model([labels[0]["score"] for labels in reply])


PEER = Peer(
    name="tei",
    call=_call,
    read=_read,
    note="takes at most --max-client-batch-size texts a request, 32 by default",
)
