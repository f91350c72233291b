"""infinity_client, as installed."""

import math

import pytest
from infinity_client import AuthenticatedClient
from infinity_client.api.default import classify, health, models, rerank
from infinity_client.errors import UnexpectedStatus
from infinity_client.models import ClassifyInput, RerankInput

from tests.integration.clients.conftest import KEY, PROMPT, RESPONSES, TEXTS


@pytest.fixture
def client(server_url: str) -> AuthenticatedClient:
    return AuthenticatedClient(base_url=server_url, token=KEY)


@pytest.mark.parametrize("raw", [True, False])
def test_texts_are_classified(client, rewards, raw):
    asked = ClassifyInput(input_=TEXTS, raw_scores=raw)

    reply = classify.sync(client=client, body=asked)

    expected = rewards if raw else [1 / (1 + math.exp(-reward)) for reward in rewards]
    assert [labels[0].score for labels in reply.data] == pytest.approx(expected, abs=1e-5)


def test_responses_are_ranked(client, rewards):
    asked = RerankInput(query=PROMPT, documents=RESPONSES, raw_scores=True, return_documents=True)

    reply = rerank.sync(client=client, body=asked)

    best_first = sorted(range(2), key=lambda index: -rewards[index])
    assert [result.index for result in reply.results] == best_first
    assert [result.document for result in reply.results] == [RESPONSES[i] for i in best_first]
    found = [result.relevance_score for result in reply.results]
    assert found == pytest.approx([rewards[i] for i in best_first], abs=1e-5)


def test_the_server_tells_of_itself(client):
    assert [card.id for card in models.sync(client=client).data] == ["rewardd", "helpfulness"]
    assert health.sync_detailed(client=client).status_code == 200


def test_refusals_are_exceptions(client, server_url):
    with pytest.raises(AttributeError):  # it expects FastAPI's own form of a 422
        classify.sync(client=client, body=ClassifyInput(input_=[""]))
    strict = AuthenticatedClient(base_url=server_url, token="x", raise_on_unexpected_status=True)
    with pytest.raises(UnexpectedStatus, match="401"):
        classify.sync(client=strict, body=ClassifyInput(input_=TEXTS))
