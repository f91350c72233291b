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
    put_prompt: Callable[[Any, list[dict[str, str]]], None] | None = None
    """Puts the messages before the response into a body, where the text is a chat's last turn."""


def _verify(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text}
    message = {"type": "message", "role": "assistant", "content": [part]}
    return {"responses_create_params": {"input": ""}, "response": {"output": [message]}}


def _sentences(text: str) -> dict[str, Any]:
    return {"inputs": [{"name": "sentences", "shape": [1], "datatype": "BYTES", "data": [text]}]}


def _put_input(body: Any, prompt: list[dict[str, str]]) -> None:
    body["responses_create_params"]["input"] = prompt


def _chat(text: str) -> dict[str, Any]:
    said = [{"role": "user", "content": "q"}, {"role": "assistant", "content": text}]
    return {"model": "m", "messages": said}


def _put_messages(body: Any, prompt: list[dict[str, str]]) -> None:
    body["messages"][:-1] = prompt


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
    Tongue(
        "infinity",
        "/classify",
        lambda t: {"input": [t], "raw_scores": True},
        lambda r: r["data"][0][0]["score"],
    ),
    Tongue(
        "rerank",
        "/v1/rerank?rendered=1",
        lambda t: {"query": t[:5], "documents": [t[5:]], "use_activation": False},
        lambda r: r["results"][0]["relevance_score"],
    ),
    Tongue(
        "vLLM's score",
        "/v1/score?rendered=1",
        lambda t: {"text_1": t[:5], "text_2": [t[5:]], "use_activation": False},
        lambda r: r["data"][0]["score"],
    ),
    Tongue("tei", "/predict", lambda t: {"inputs": t, "raw_scores": True}, lambda r: r[0]["score"]),
    Tongue(
        "swift",
        "/v1/chat/completions",
        _chat,
        lambda r: float(r["choices"][0]["message"]["content"]),
        _put_messages,
    ),
    Tongue(
        "nim",
        "/nim/v1/chat/completions",
        _chat,
        lambda r: float(r["choices"][0]["message"]["content"].split(":")[1]),
        _put_messages,
    ),
    Tongue(
        "paddlenlp", "/", lambda t: {"src": [t[:5]], "response": [t[5:]]}, lambda r: r["score"][0]
    ),
    Tongue("nemo_gym", "/verify?rendered=1", _verify, lambda r: r["reward"], _put_input),
    Tongue(
        "kserve",
        "/v2/models/reward_model/infer",
        _sentences,
        lambda r: r["outputs"][0]["data"][0],
    ),
)
