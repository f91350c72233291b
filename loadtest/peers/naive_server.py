"""What one writes in an afternoon: transformers behind FastAPI, done honestly.

Evaluation mode, inference mode, one padded batch a request, the forward in a worker thread so that
the event loop is never blocked. One worker: on a machine whose cores one forward fills, more only
take them from each other. No batching across requests.
"""

import argparse
import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer


class ScoreBody(BaseModel):
    """Texts to score."""

    texts: list[str]


class PaddedModel:
    """A reward model that scores a list of texts in one right-padded forward."""

    def __init__(self, directory: str) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(directory)
        self._model = AutoModelForSequenceClassification.from_pretrained(
            directory, dtype=torch.float32
        ).eval()

    @torch.inference_mode()
    def rewards(self, texts: list[str]) -> list[float]:
        """Raw rewards in order."""
        batch = self._tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        rewards: list[float] = self._model(**inputs).logits[:, 0].tolist()
        return rewards


def make_app(model: PaddedModel, *, workers: int) -> FastAPI:
    """The two routes."""
    app = FastAPI()
    pool = ThreadPoolExecutor(workers)

    @app.post("/score")
    async def score(body: ScoreBody) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        return {"rewards": await loop.run_in_executor(pool, model.rewards, body.texts)}

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    return app


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8100)
    parser.add_argument("--threads", type=int, help="torch's threads; its own choice by default")
    parser.add_argument("--workers", type=int, default=1, help="forwards at the same time")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    app = make_app(PaddedModel(arguments.model), workers=arguments.workers)
    uvicorn.run(app, host=arguments.host, port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
