"""The servers that can be measured, one row each: what is asked, what is read, how it is started.

None of them is a dependency.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from loadtest.peers.contract import Peer, Rewards
from loadtest.workloads import SPEAKERS, Request, Text

ROLES = ("safety", "helpfulness")
LITSERVE_SERVER = Path(__file__).parent / "servers" / "litserve_server.py"


def _wholes(request: Request) -> list[str]:
    """The texts as one string each."""
    return [text.whole for text in request.texts]


def _one_model(values: Callable[[Any], Sequence[Any]]) -> Callable[[Any, Request], Rewards]:
    """Rewards of a server that holds one model and answers in the order of the request."""
    return lambda reply, _: {"": [float(value) for value in values(reply)]}


def _items(request: Request, _: str) -> Any:
    """Ours: a group as one item, independent texts as items of their own, chats as messages."""
    texts = request.texts
    if request.is_group:
        responses = [text.response for text in texts]
        return {"items": [{"prompt": texts[0].prompt, "responses": responses}]}
    return {"items": [_item(text) for text in texts]}


def _item(text: Text) -> dict[str, Any]:
    if not text.earlier:
        return {"prompt": text.prompt, "response": text.response}
    said = (*text.earlier, text.prompt, text.response)
    turns = zip(itertools.cycle(SPEAKERS), said, strict=False)
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def _read_items(reply: Any, request: Request) -> Rewards:
    items = reply["items"][0]["responses"] if request.is_group else reply["items"]
    return {
        role: [item[role]["reward"] for item in items]
        for role in ROLES
        if items[0].get(role) is not None
    }


def _infinity_scores(reply: Any, request: Request) -> Rewards:
    by_index = {result["index"]: result["relevance_score"] for result in reply["results"]}
    return {"": [float(by_index[index]) for index in range(len(request.texts))]}


def _embeddings(reply: Any) -> list[Any]:
    return [entry["embedding"][0] for entry in (reply if isinstance(reply, list) else [reply])]


OURS = Peer(
    name="rewardd",
    path="/score",
    body=_items,
    read=_read_items,
    health="/health/ready",
    command=(
        *("{python}", "-m", "rewardd", "serve", "--port", "{port}", "--device", "cpu"),
        *("--state-dir", "{scratch}", "--log-level", "warning"),
    ),
    holds_both=True,
    counters={
        "busy_seconds": ("rm_engine_busy_seconds_total",),
        "read_tokens": ("rm_tokens_total",),
        # Kept from earlier passes, and shared within one.
        "cached_tokens": (
            'rm_tokens_total{kind="prefix_cached"}',
            'rm_tokens_total{kind="prefix_reused"}',
        ),
        "kept_rewards": ('rm_cache_hits_total{cache="rewards"}',),
    },
)

ADAPTERS = (
    OURS,
    # The same contract, of an earlier checkout.
    replace(OURS, name="earlier", command=None, note="start another checkout by --command"),
    # Plain transformers behind FastAPI, padded, no batching across requests.
    Peer(
        name="naive",
        path="/score",
        body=lambda request, _: {"texts": _wholes(request)},
        read=_one_model(lambda reply: reply["rewards"]),
        command=(
            *("{python}", "-m", "loadtest.peers.naive_server", "{model}"),
            *("--port", "{port}", "--threads", "{threads}"),
        ),
        needs="fastapi uvicorn torch transformers",
        note="one padded forward a request, in a thread of its own",
    ),
    # The remote reward contract, as `openrlhf.cli.serve_rm` answers it.
    Peer(
        name="openrlhf",
        path="/get_reward",
        body=lambda request, _: {
            "query": _wholes(request),
            "prompts": [text.prompt for text in request.texts],
            "labels": [None] * len(request.texts),
        },
        read=_one_model(lambda reply: reply["rewards"]),
        health="",
        command=(
            *("{python}", "-m", "openrlhf.cli.serve_rm", "--reward_pretrain", "{model}"),
            *("--port", "{port}", "--host", "127.0.0.1"),
        ),
        needs="openrlhf",
        note="its default bf16 is slow and inexact on CPU; give --command with the flags of your "
        "release for float32",
    ),
    # /rerank, since it refuses /classify for a model with one label: the query is empty and the
    # document the whole text. It strips white space and pads in batches sorted by length.
    Peer(
        name="infinity",
        path="/rerank",
        body=lambda request, model: {
            "model": model,
            "query": "",
            "documents": _wholes(request),
            "raw_scores": True,
        },
        read=_infinity_scores,
        command=(
            *("{python}", "-c", "from infinity_emb.cli import cli; cli()", "v2"),
            *("--model-id", "{model}"),
            *("--served-model-name", "reward", "--port", "{port}", "--host", "127.0.0.1"),
            *("--device", "cpu", "--dtype", "float32", "--engine", "torch"),
            *("--no-bettertransformer", "--no-model-warmup", "--log-level", "error"),
        ),
        needs="infinity-emb[torch,server] transformers<5",
    ),
    # LitServe with its own dynamic batching.
    Peer(
        name="litserve",
        path="/predict",
        body=lambda request, _: {"texts": _wholes(request)},
        read=_one_model(lambda reply: reply["rewards"]),
        command=(
            *("{python}", str(LITSERVE_SERVER), "{model}"),
            *("--port", "{port}", "--threads", "{threads}"),
        ),
        needs="litserve torch transformers",
        note="requests that arrive together are padded into one forward, up to 8 requests or 10 ms",
    ),
    # `probs` are the head's logits only with `use_activation: false`; /score and /rerank want a
    # query and apply a sigmoid, /pooling answers the same numbers. It decides on prefix caching and
    # chunked prefill by itself, and has both on for a causal model that reads its last token.
    # What its CPU backend wants for speed is set: OpenMP threads bound to the cores given (by
    # default it keeps one core for its other processes, which on two cores halves it), Intel's
    # OpenMP and tcmalloc in front where the machine has them (a missing one is named on stderr and
    # left out), steps of as many tokens as our packs have, and room for every text of a shape.
    Peer(
        name="vllm",
        path="/classify",
        body=lambda request, model: {
            "model": model,
            "input": _wholes(request),
            "use_activation": False,
        },
        read=_one_model(
            lambda reply: [
                entry["probs"][0] for entry in sorted(reply["data"], key=lambda one: one["index"])
            ]
        ),
        command=(
            *("VLLM_CPU_OMP_THREADS_BIND={cores}", "VLLM_CPU_KVCACHE_SPACE=4"),
            "LD_PRELOAD=libtcmalloc_minimal.so.4:{environment}/lib/libiomp5.so",
            "VLLM_NO_USAGE_STATS=1",
            *("{python}", "-m", "vllm.entrypoints.openai.api_server", "--model", "{model}"),
            *("--served-model-name", "reward", "--runner", "pooling", "--convert", "classify"),
            *("--dtype", "float32", "--port", "{port}", "--host", "127.0.0.1"),
            *("--max-num-batched-tokens", "8192", "--disable-uvicorn-access-log"),
        ),
        counters={
            "read_tokens": ("vllm:prefix_cache_queries_total",),
            "cached_tokens": ("vllm:prefix_cache_hits_total",),
        },
        needs="vllm-cpu",
        note="its prefix cache remembers texts: every round must bring fresh ones, as compare does",
    ),
    # With --is-embedding: the reward as a one-dimensional embedding.
    Peer(
        name="sglang",
        path="/classify",
        body=lambda request, model: {"model": model, "text": _wholes(request)},
        read=_one_model(_embeddings),
        counters={
            "read_tokens": ("sglang:prompt_tokens_total",),
            "cached_tokens": ("sglang:cached_tokens_total",),
        },
        note="--enable-metrics tells its counters; its radix cache remembers texts; Llama without "
        "EOS at the end is scored 1",
    ),
    # Text Embeddings Inference: encoders only for one-label models. One inner list a text: two
    # strings in it would be a pair.
    Peer(
        name="tei",
        path="/predict",
        body=lambda request, _: {
            "inputs": [[whole] for whole in _wholes(request)],
            "raw_scores": True,
            "truncate": False,
        },
        read=_one_model(lambda reply: [labels[0]["score"] for labels in reply]),
        note="takes at most --max-client-batch-size texts a request, 32 by default",
    ),
)
