"""vLLM's pooling server: POST /classify, raw scores asked for."""

from typing import Any

from loadtest.peers.contract import Call, Peer, Rewards, one_model, wholes
from loadtest.workloads import Request


def _call(request: Request, model: str) -> Call:
    return Call("/classify", {"model": model, "input": wholes(request), "use_activation": False})


def _read(reply: Any, _: Request) -> Rewards:
    ordered = sorted(reply["data"], key=lambda entry: entry["index"])
    return one_model([entry["probs"][0] for entry in ordered])


PEER = Peer(
    name="vllm",
    call=_call,
    read=_read,
    command=(
        *("{python}", "-m", "vllm.entrypoints.openai.api_server", "--model", "{model}"),
        *("--served-model-name", "reward", "--runner", "pooling", "--convert", "classify"),
        *("--dtype", "float32", "--port", "{port}", "--host", "127.0.0.1"),
    ),
    needs="vllm",
    note="its prefix cache remembers texts: every round must bring fresh ones, as compare does",
)
