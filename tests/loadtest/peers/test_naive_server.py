import pytest
from fastapi.testclient import TestClient

from loadtest import workloads
from loadtest.oracle import rewards_alone
from loadtest.peers import peer_named
from loadtest.peers.naive_server import PaddedModel, make_app


@pytest.fixture(scope="module")
def client(model):
    return TestClient(make_app(PaddedModel(str(model)), workers=1))


def test_it_scores_a_padded_batch_as_each_text_alone(client, model, tokenizer):
    (request,) = workloads.mixed(tokenizer, texts=5).requests
    peer = peer_named("naive")

    reply = client.post(peer.path, json=peer.body(request, ""))

    assert peer.rewards(reply.content, request)[""] == pytest.approx(
        rewards_alone(model, [text.whole for text in request.texts]), abs=1e-5
    )


def test_it_says_when_it_is_ready(client):
    assert client.get(peer_named("naive").health).status_code == 200
