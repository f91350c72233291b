"""OpenRLHF's remote reward contract: POST /get_reward, as `openrlhf.cli.serve_rm` answers it."""

from typing import Any

from loadtest.peers.contract import Call, Peer, Rewards, one_model, wholes
from loadtest.workloads import Request


def _call(request: Request, _: str) -> Call:
    return Call(
        "/get_reward",
        {
            "query": wholes(request),
            "prompts": [text.prompt for text in request.texts],
            "labels": [None] * len(request.texts),
        },
    )


def _read(reply: Any, _: Request) -> Rewards:
    return one_model(reply["rewards"])


PEER = Peer(
    name="openrlhf",
    call=_call,
    read=_read,
    health="",
    command=(
        *("{python}", "-m", "openrlhf.cli.serve_rm", "--reward_pretrain", "{model}"),
        *("--port", "{port}", "--host", "127.0.0.1"),
    ),
    needs="openrlhf",
    note="its default bf16 is slow and inexact on CPU; give --command with the flags of your "
    "release for float32",
)
