"""Adapters against replies in the form that each server gives, as its contract documents it."""

import json

import pytest

from loadtest.errors import LoadTestError, MalformedReply
from loadtest.peers import PEERS, peer_named
from loadtest.workloads import Request, Text

GROUP = Request(tuple(Text("ask", f" r{n}", f"ask r{n}", 2) for n in range(2)))
APART = Request((Text("one", " a", "one a", 2), Text("two", " b", "two b", 2)))


def reply_of_rewardd(first, second):
    return {"safety": {"reward": first, "score": 0.5}, "helpfulness": {"reward": second}}


RECORDED = {
    "naive": {"rewards": [0.5, -1.5]},
    "openrlhf": {
        "rewards": [0.5, -1.5],
        "scores": [0.5, -1.5],
        "extra_logs": {"dummy_scores": [0.5, -1.5]},
    },
    "infinity": {
        "object": "rerank",
        "results": [
            {"relevance_score": -1.5, "index": 1, "document": None},
            {"relevance_score": 0.5, "index": 0, "document": None},
        ],
        "model": "reward",
        "usage": {"prompt_tokens": 8, "total_tokens": 8},
        "id": "infinity-1",
        "created": 1,
    },
    "litserve": {"rewards": [0.5, -1.5]},
    "vllm": {
        "id": "classify-1",
        "object": "list",
        "created": 1,
        "model": "reward",
        "data": [
            {"index": 1, "label": "LABEL_0", "probs": [-1.5], "num_classes": 1},
            {"index": 0, "label": "LABEL_0", "probs": [0.5], "num_classes": 1},
        ],
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    },
    "sglang": [
        {"embedding": [0.5], "meta_info": {"id": "a", "prompt_tokens": 2}},
        {"embedding": [-1.5], "meta_info": {"id": "b", "prompt_tokens": 2}},
    ],
    "tei": [[{"score": 0.5, "label": "LABEL_0"}], [{"score": -1.5, "label": "LABEL_0"}]],
}

SENT = {
    "naive": ("/score", {"texts": ["ask r0", "ask r1"]}),
    "litserve": ("/predict", {"texts": ["ask r0", "ask r1"]}),
    "openrlhf": (
        "/get_reward",
        {"query": ["ask r0", "ask r1"], "prompts": ["ask", "ask"], "labels": [None, None]},
    ),
    "infinity": (
        "/rerank",
        {"model": "m", "query": "", "documents": ["ask r0", "ask r1"], "raw_scores": True},
    ),
    "vllm": (
        "/classify",
        {"model": "m", "input": ["ask r0", "ask r1"], "use_activation": False},
    ),
    "sglang": ("/classify", {"model": "m", "text": ["ask r0", "ask r1"]}),
    "tei": (
        "/predict",
        {"inputs": [["ask r0"], ["ask r1"]], "raw_scores": True, "truncate": False},
    ),
}


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_reply_is_read_in_the_order_of_the_request(name):
    body = json.dumps(RECORDED[name]).encode()

    assert PEERS[name].rewards(body, GROUP) == {"": [0.5, -1.5]}


@pytest.mark.parametrize("name", SENT)
def test_a_request_is_what_the_contract_wants(name):
    peer = PEERS[name]

    assert (peer.path, json.loads(peer.encoded(GROUP, "m"))) == SENT[name]


def test_every_adapter_is_tested_here():
    ours = {"rewardd", "earlier"}

    assert {*RECORDED, *ours} == {*SENT, *ours} == set(PEERS)


def test_our_server_gets_a_group_as_one_item_and_answers_for_every_role():
    peer = peer_named("rewardd")
    body = {"items": [{"responses": [reply_of_rewardd(1.0, 2.0), reply_of_rewardd(3.0, 4.0)]}]}

    assert peer.path == "/score"
    assert peer.body(GROUP, "m") == {"items": [{"prompt": "ask", "responses": [" r0", " r1"]}]}
    assert peer.rewards(json.dumps(body).encode(), GROUP) == {
        "safety": [1.0, 3.0],
        "helpfulness": [2.0, 4.0],
    }


def test_our_server_gets_independent_texts_as_items_of_their_own():
    peer = peer_named("rewardd")
    body = {"items": [{"helpfulness": {"reward": 1.0}}, {"helpfulness": {"reward": 2.0}}]}

    assert peer.body(APART, "m")["items"][1] == {"prompt": "two", "response": " b"}
    assert peer.rewards(json.dumps(body).encode(), APART) == {"helpfulness": [1.0, 2.0]}


def test_our_server_gets_a_chat_as_its_messages():
    chat = Request((Text("and now?", " yes", "whole", 9, ("hello", "hi")),))

    assert peer_named("rewardd").body(chat, "m")["items"] == [
        {
            "messages": [
                {"role": "user", "content": "hello"},
                {"role": "assistant", "content": "hi"},
                {"role": "user", "content": "and now?"},
                {"role": "assistant", "content": " yes"},
            ]
        }
    ]


def test_an_earlier_checkout_of_ours_is_asked_alike_and_started_by_a_command():
    ours, earlier = peer_named("rewardd"), peer_named("earlier")

    assert earlier.encoded(GROUP, "m") == ours.encoded(GROUP, "m")
    assert earlier.counters == ours.counters
    assert earlier.command is None


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"detail": "oops"}', b"null", b"7"])
def test_a_reply_of_another_form_is_malformed_and_not_a_reward(name, body):
    with pytest.raises(MalformedReply, match=name):
        PEERS[name].rewards(body, GROUP)


def test_an_item_that_failed_is_malformed_and_not_left_out():
    body = {"items": [{"safety": {"reward": 1.0}}, {"error": {"code": "empty_text"}}]}

    with pytest.raises(MalformedReply):
        peer_named("rewardd").rewards(json.dumps(body).encode(), APART)


def test_texts_are_sent_as_they_are():
    text = Text("naïve “quotes”", "\n\ttab 🙂", "naïve “quotes”\n\ttab 🙂", 9)
    sent = peer_named("naive").encoded(Request((text,)), "m")

    assert json.loads(sent.decode("utf-8")) == {"texts": [text.whole]}


def test_an_unknown_adapter_is_answered_with_the_known_ones():
    with pytest.raises(LoadTestError, match="rewardd, earlier, naive"):
        peer_named("nobody")
