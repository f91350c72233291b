"""PyTriton's ModelClient, which NeMo-Aligner's trainers speak through."""

import numpy as np
import pytest
from pytriton.client import ModelClient
from pytriton.client.exceptions import PyTritonClientInferenceServerError

from tests.integration.clients.conftest import TEXTS


def encoded(texts: list[str]) -> np.ndarray:
    return np.array([[text.encode()] for text in texts], dtype=np.bytes_)


@pytest.fixture
def client(open_server_url: str) -> ModelClient:
    return ModelClient(open_server_url, "reward_model", init_timeout_s=60)


def test_a_batch_of_sentences_is_scored(client, rewards):
    with client:
        found = client.infer_batch(sentences=encoded(TEXTS))

    assert found["rewards"].shape == (2, 1)
    assert found["rewards"][:, 0].tolist() == pytest.approx(rewards, abs=1e-5)


def test_a_refusal_is_an_exception_with_its_reason(client):
    with client, pytest.raises(PyTritonClientInferenceServerError, match="could not be judged"):
        client.infer_batch(sentences=np.array([[b""], [b" "]], dtype=np.object_))
