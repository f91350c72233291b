"""vLLM's pooling server: POST /classify, raw scores asked for.

`probs` are the head's logits only with `use_activation: false`; /score and /rerank want a query and
apply a sigmoid, /pooling answers the same numbers as /classify. vLLM decides on prefix caching and
chunked prefill by itself, and has both on for a causal model that reads its last token.

What its CPU backend wants for speed is set: OpenMP threads bound to the cores given (by default it
keeps one core for its other processes, which on two cores halves it), Intel's OpenMP and tcmalloc
in front where the machine has them (a missing one is named on stderr and left out), steps of as
many tokens as our packs have, and room for every text of a shape in its cache.
"""

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
        *("VLLM_CPU_OMP_THREADS_BIND={cores}", "VLLM_CPU_KVCACHE_SPACE=4"),
        "LD_PRELOAD=libtcmalloc_minimal.so.4:{environment}/lib/libiomp5.so",
        "VLLM_NO_USAGE_STATS=1",
        *("{python}", "-m", "vllm.entrypoints.openai.api_server", "--model", "{model}"),
        *("--served-model-name", "reward", "--runner", "pooling", "--convert", "classify"),
        *("--dtype", "float32", "--port", "{port}", "--host", "127.0.0.1"),
        *("--max-num-batched-tokens", "8192", "--disable-uvicorn-access-log"),
    ),
    needs="vllm-cpu",
    note="its prefix cache remembers texts: every round must bring fresh ones, as compare does",
)
