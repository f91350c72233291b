"""A reward model in LitServe, as its documentation shows it; run with an interpreter that has it.

    python litserve_server.py MODEL --port 8101

Stands alone: it imports nothing of this project, so that litserve may live in an environment of
its own.
"""

import argparse
from typing import Any

import litserve
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer


class RewardModel(litserve.LitAPI):  # type: ignore[misc]
    """Batches requests; each holds a list of texts."""

    def __init__(self, directory: str, threads: int | None, **options: Any) -> None:
        super().__init__(**options)
        self._directory = directory
        self._threads = threads

    def setup(self, device: str) -> None:
        """Load the model in the worker process."""
        if self._threads:
            torch.set_num_threads(self._threads)
        self._tokenizer = AutoTokenizer.from_pretrained(self._directory)
        self._model = AutoModelForSequenceClassification.from_pretrained(
            self._directory, dtype=torch.float32
        )
        self._model.eval().to(device)

    def decode_request(self, request: dict[str, Any], **_: Any) -> list[str]:
        """The request's texts."""
        texts: list[str] = request["texts"]
        return texts

    def batch(self, inputs: list[list[str]]) -> list[list[str]]:
        """Leave the requests apart: `predict` needs their sizes."""
        return inputs

    def unbatch(self, output: list[list[float]]) -> list[list[float]]:
        """One list of rewards a request."""
        return output

    @torch.inference_mode()
    def predict(self, requests: list[list[str]], **_: Any) -> list[list[float]]:
        """All texts of all requests in one padded forward."""
        texts = [text for request in requests for text in request]
        batch = self._tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
        logits = self._model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).logits
        rewards = iter(logits[:, 0].tolist())
        return [[next(rewards) for _ in request] for request in requests]

    def encode_response(self, output: list[float], **_: Any) -> dict[str, list[float]]:
        """The reply."""
        return {"rewards": output}


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--port", type=int, default=8101)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--max-batch-size", type=int, default=8)
    parser.add_argument("--batch-timeout", type=float, default=0.01)
    arguments = parser.parse_args()
    api = RewardModel(
        arguments.model,
        arguments.threads,
        max_batch_size=arguments.max_batch_size,
        batch_timeout=arguments.batch_timeout,
    )
    server = litserve.LitServer(api, accelerator="cpu", timeout=600)
    server.run(
        host="127.0.0.1", port=arguments.port, generate_client_file=False, log_level="warning"
    )


if __name__ == "__main__":
    main()
