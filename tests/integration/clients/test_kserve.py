"""kserve's REST client, as installed."""

import asyncio

import httpx
import numpy as np
import pytest
from kserve import InferInput, InferRequest
from kserve.inference_client import InferenceRESTClient, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

from tests.integration.clients.conftest import KEY, TEXTS

HEADERS = {"X-API-Key": KEY}


def request(texts: list[str], *, given: bool, wanted: bool | None = None) -> InferRequest:
    tensor = InferInput("sentences", [len(texts)], "BYTES")
    tensor.set_data_from_numpy(np.asarray(texts, dtype=object), binary_data=given)
    outputs = None
    if wanted is not None:
        outputs = [RequestedOutput("rewards", {"binary_data": wanted})]
    return InferRequest("reward_model", [tensor], request_outputs=outputs)


def client() -> InferenceRESTClient:
    return InferenceRESTClient(RESTConfig(protocol="v2", timeout=60))


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("wanted", [True, False, None])
async def test_texts_are_scored_whichever_way_they_come_and_go(server_url, rewards, given, wanted):
    reply = await client().infer(
        server_url,
        request(TEXTS, given=given, wanted=wanted),
        model_name="reward_model",
        headers=dict(HEADERS),
    )

    found = reply.outputs[0].as_numpy()
    assert found.reshape(-1).tolist() == pytest.approx(rewards, abs=1e-5)


async def test_the_server_tells_of_itself(server_url):
    asked = client()

    assert await asked.is_server_live(server_url, headers=HEADERS)
    assert await asked.is_server_ready(server_url, headers=HEADERS)
    assert await asked.is_model_ready(server_url, "reward_model", headers=HEADERS)


async def test_refusals_are_exceptions(server_url):
    for texts, name, headers, status in (
        ([""], "reward_model", HEADERS, 422),
        (TEXTS, "gpt", HEADERS, 404),
        (TEXTS, "reward_model", {}, 401),
    ):
        with pytest.raises(httpx.HTTPStatusError) as refused:
            await client().infer(
                server_url, request(texts, given=True), model_name=name, headers=dict(headers)
            )
        assert refused.value.response.status_code == status


async def test_two_hundred_at_once_wait_for_room(server_url, rewards):
    asked = client()

    async def one(index: int) -> float:
        text = request([TEXTS[index % 2]], given=index % 3 == 0)
        reply = await asked.infer(
            server_url, text, model_name="reward_model", headers=dict(HEADERS)
        )
        (found,) = reply.outputs[0].as_numpy().reshape(-1).tolist()
        return found

    found = await asyncio.gather(*map(one, range(200)))
    assert found == pytest.approx(rewards * 100, abs=1e-5)
