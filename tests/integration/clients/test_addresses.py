"""A key in an address, as aiohttp (OpenRLHF, slime, miles) and requests (the others) send it."""

import aiohttp
import pytest
import requests

from tests.integration.clients.conftest import KEY, TEXTS


@pytest.fixture
def address(server_url: str) -> str:
    return server_url.replace("//", f"//any:{KEY}@")


async def test_aiohttp_opens_with_it(address, server_url, rewards):
    body = {"query": TEXTS, "prompts": ["", ""], "labels": [None, None]}
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{address}/get_reward", json=body) as reply:
            found = (await reply.json())["rewards"]
        async with session.post(f"{server_url}/get_reward", json=body) as reply:
            refused = reply.status

    assert found == pytest.approx(rewards, abs=1e-5)
    assert refused == 401


def test_requests_opens_with_it(address, server_url, rewards):
    body = {"model": "model", "messages": TEXTS}

    found = requests.post(f"{address}/v1/score/evaluation", json=body, timeout=60).json()
    refused = requests.post(f"{server_url}/v1/score/evaluation", json=body, timeout=60)

    assert found["scores"] == pytest.approx(rewards, abs=1e-5)
    assert refused.status_code == 401
