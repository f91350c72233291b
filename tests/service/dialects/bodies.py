"""The same text, said to every dialect, and the number read from each reply as its client does."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Tongue:
    """How one dialect is asked for one rendered text and read."""

    name: str
    path: str
    body: Callable[[str], Any]
    read: Callable[[Any], float]


def _verify(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text}
    message = {"type": "message", "role": "assistant", "content": [part]}
    return {"responses_create_params": {"input": ""}, "response": {"output": [message]}}


def _sentences(text: str) -> dict[str, Any]:
    return {"inputs": [{"name": "sentences", "shape": [1], "datatype": "BYTES", "data": [text]}]}


TONGUES = (
    Tongue("openrlhf", "/get_reward", lambda t: {"query": [t]}, lambda r: r["rewards"][0]),
    Tongue(
        "align_anything",
        "/get_reward?rendered=1",
        lambda t: {"prompts": [t[:5]], "responses": [t[5:]]},
        lambda r: r["rewards"][0],
    ),
    Tongue("slime", "/rm?rendered=1", lambda t: {"prompt": t[:5], "response": t[5:]}, float),
    Tongue(
        "slime with detail",
        "/rm?rendered=1&detail=1",
        lambda t: {"prompt": t[:5], "response": t[5:]},
        lambda r: r["reward"],
    ),
    Tongue(
        "llama_factory",
        "/v1/score/evaluation",
        lambda t: {"model": "model", "messages": [t]},
        lambda r: r["scores"][0],
    ),
    Tongue(
        "vllm",
        "/classify",
        lambda t: {"model": "m", "input": t, "use_activation": False},
        lambda r: r["data"][-1]["probs"][-1],
    ),
    Tongue("pooling", "/pooling", lambda t: {"input": t}, lambda r: r["data"][0]["data"][0]),
    Tongue(
        "embeddings",
        "/v1/embeddings",
        lambda t: {"model": "m", "input": t},
        lambda r: r["data"][-1]["embedding"][-1],
    ),
    Tongue(
        "sglang", "/classify", lambda t: {"text": [t], "rid": "a"}, lambda r: r[0]["embedding"][0]
    ),
    Tongue("nemo_gym", "/verify?rendered=1", _verify, lambda r: r["reward"]),
    Tongue(
        "kserve",
        "/v2/models/reward_model/infer",
        _sentences,
        lambda r: r["outputs"][0]["data"][0],
    ),
)
