"""Our own server: POST /score, a group as one item."""

from typing import Any

from loadtest.peers.contract import Call, Peer, Rewards
from loadtest.workloads import Request

ROLES = ("safety", "helpfulness")


def _call(request: Request, _: str) -> Call:
    if request.is_group:
        responses = [text.response for text in request.texts]
        item = {"prompt": request.texts[0].prompt, "responses": responses}
        return Call("/score", {"items": [item]})
    items = [{"prompt": text.prompt, "response": text.response} for text in request.texts]
    return Call("/score", {"items": items})


def _read(reply: Any, request: Request) -> Rewards:
    items = reply["items"][0]["responses"] if request.is_group else reply["items"]
    return {
        role: [item[role]["reward"] for item in items]
        for role in ROLES
        if items[0].get(role) is not None
    }


PEER = Peer(
    name="rewardd",
    call=_call,
    read=_read,
    health="/health/ready",
    command=(
        *("{python}", "-m", "rewardd", "serve", "--port", "{port}", "--device", "cpu"),
        *("--state-dir", "{scratch}", "--log-level", "warning"),
    ),
    holds_both=True,
)
