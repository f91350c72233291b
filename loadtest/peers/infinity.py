"""Infinity: /rerank, since it refuses /classify for a model with one label.

The query is empty and the document the whole text; `raw_scores` or a sigmoid is applied. It strips
white space from every text and pads in batches sorted by length.
"""

from typing import Any

from loadtest.peers.contract import Call, Peer, Rewards, one_model, wholes
from loadtest.workloads import Request


def _call(request: Request, model: str) -> Call:
    body = {"model": model, "query": "", "documents": wholes(request), "raw_scores": True}
    return Call("/rerank", body)


def _read(reply: Any, request: Request) -> Rewards:
    by_index = {result["index"]: result["relevance_score"] for result in reply["results"]}
    return one_model([by_index[index] for index in range(len(request.texts))])


PEER = Peer(
    name="infinity",
    call=_call,
    read=_read,
    command=(
        *("{python}", "-c", "from infinity_emb.cli import cli; cli()", "v2"),
        *("--model-id", "{model}"),
        *("--served-model-name", "reward", "--port", "{port}", "--host", "127.0.0.1"),
        *("--device", "cpu", "--dtype", "float32", "--engine", "torch", "--no-bettertransformer"),
        *("--no-model-warmup", "--log-level", "error"),
    ),
    needs="infinity-emb[torch,server] transformers<5",
)
