"""The LitServe server's own part, with LitServe's base class stubbed: it is no dependency."""

import sys
import types

import pytest

from loadtest import workloads
from loadtest.oracle import rewards_alone
from loadtest.peers import peer_named


class LitAPI:
    def __init__(self, **options):
        self.options = options


@pytest.fixture
def api(monkeypatch, model):
    stub = types.ModuleType("litserve")
    stub.LitAPI = LitAPI  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "litserve", stub)
    monkeypatch.delitem(sys.modules, "loadtest.peers.servers.litserve_server", raising=False)
    from loadtest.peers.servers.litserve_server import RewardModel

    api = RewardModel(str(model), None, max_batch_size=8, batch_timeout=0.01)
    api.setup("cpu")
    return api


def test_requests_that_meet_in_a_batch_get_their_own_rewards(api, model, tokenizer):
    requests = workloads.mixed(tokenizer, texts=5, per_request=2).requests
    peer = peer_named("litserve")

    decoded = [api.decode_request(peer.body(request, "")) for request in requests]
    outputs = api.unbatch(api.predict(api.batch(decoded)))
    replies = [api.encode_response(output)["rewards"] for output in outputs]

    assert [len(values) for values in replies] == [2, 2, 1]
    wholes = [text.whole for request in requests for text in request.texts]
    assert [value for values in replies for value in values] == pytest.approx(
        rewards_alone(model, wholes), abs=1e-5
    )
    assert api.options == {"max_batch_size": 8, "batch_timeout": 0.01}
