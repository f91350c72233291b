"""tritonclient's HTTP client, as installed, in every combination of JSON and bytes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.integration.clients.conftest import KEY, PROMPT, RESPONSES, TEXTS

HEADERS = {"X-API-Key": KEY}  # given in copies: infer writes into what it is given


@pytest.fixture
def client(server_url: str) -> Iterator[Any]:
    with triton.InferenceServerClient(server_url.removeprefix("http://")) as client:
        yield client


def tensor(name: str, values: Any, datatype: str, *, binary: bool) -> Any:
    values = np.asarray(values, dtype=object if datatype == "BYTES" else np.int64)
    found = triton.InferInput(name, list(values.shape), datatype)
    found.set_data_from_numpy(values, binary_data=binary)
    return found


def infer(client: Any, inputs: list[Any], **more: Any) -> list[float]:
    result = client.infer("reward_model", inputs, headers=dict(HEADERS), **more)
    found = result.as_numpy("rewards")
    assert found.shape == (len(found), 1)
    return [float(value) for value in found[:, 0]]


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("wanted", [True, False, None])
def test_texts_are_scored_whichever_way_they_come_and_go(client, rewards, given, wanted):
    outputs = None if wanted is None else [triton.InferRequestedOutput("rewards", wanted)]

    found = infer(client, [tensor("sentences", TEXTS, "BYTES", binary=given)], outputs=outputs)

    assert found == pytest.approx(rewards, abs=1e-5)


@pytest.mark.parametrize("given", [True, False])
def test_prompts_and_responses_are_scored(client, rewards, given):
    inputs = [
        tensor("prompts", [[PROMPT], [PROMPT]], "BYTES", binary=given),
        tensor("responses", [[text] for text in RESPONSES], "BYTES", binary=given),
    ]

    assert infer(client, inputs, request_id="7") == pytest.approx(rewards, abs=1e-5)


@pytest.mark.parametrize("given", [True, False])
def test_padded_ids_are_scored(client, rewards, token_ids, given):
    width = max(map(len, token_ids))
    padded = [[*ids, *[0] * (width - len(ids))] for ids in token_ids]
    lengths = [[len(ids)] for ids in token_ids]
    inputs = [
        tensor("tokens", padded, "INT64", binary=given),
        tensor("sequence_lengths", lengths, "INT64", binary=given),
    ]

    assert infer(client, inputs) == pytest.approx(rewards, abs=1e-5)


def test_the_server_tells_of_itself(client):
    assert client.is_server_live(headers=HEADERS)
    assert client.is_server_ready(headers=HEADERS)
    assert client.is_model_ready("reward_model", headers=HEADERS)
    assert client.is_model_ready("reward_model", "1", headers=HEADERS)
    assert not client.is_model_ready("other", headers=HEADERS)
    assert "binary_tensor_data" in client.get_server_metadata(headers=HEADERS)["extensions"]
    metadata = client.get_model_metadata("reward_model", headers=HEADERS)
    assert metadata["outputs"][0]["name"] == "rewards"
    config = client.get_model_config("reward_model", "1", headers=HEADERS)
    assert config["max_batch_size"] == 16


def test_every_refusal_is_an_exception_with_its_reason(client):
    empty = [tensor("sentences", [""], "BYTES", binary=True)]
    with pytest.raises(InferenceServerException, match="could not be judged") as refused:
        infer(client, empty)
    assert refused.value.status() == "422"
    with pytest.raises(InferenceServerException, match="The inputs must be sentences"):
        infer(client, [tensor("images", ["x"], "BYTES", binary=True)])
    with pytest.raises(InferenceServerException, match="no such model"):
        client.infer("gpt", empty, headers=dict(HEADERS))
    with pytest.raises(InferenceServerException, match="Send an API key"):
        client.infer("reward_model", empty)
    with pytest.raises(InferenceServerException, match="no such path"):
        client.get_log_settings(headers=HEADERS)


def test_two_hundred_at_once_wait_for_room(server_url, rewards):
    def one(index: int) -> float:
        with triton.InferenceServerClient(server_url.removeprefix("http://")) as client:
            (found,) = infer(
                client, [tensor("sentences", [TEXTS[index % 2]], "BYTES", binary=True)]
            )
        return found

    with ThreadPoolExecutor(200) as pool:
        assert list(pool.map(one, range(200))) == pytest.approx(rewards * 100, abs=1e-5)
