"""POST /score with rewards of tokens and steps, and with advantages by name."""

import math
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rm_client.models import ResponseReply, ScoreReply
from rm_core.engine import load_engine
from rm_core.types import Dialogue
from tests.fakes import NAN_MARK, fake_reward
from tests.models import make_tokenizer, save_checkpoint
from tests.service.scripted import serving


async def post(service: Any, body: Any) -> dict[str, Any]:
    reply = await service.client.post("/score", json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def expected(role: Any, response: str, ends: list[int]) -> list[float]:
    return [fake_reward(role, Dialogue("p q", response[:end])) for end in ends]


async def test_each_token_of_each_model_has_its_place_and_reward(service):
    response = "one  two\nthree"

    found = await post(service, {"prompt": "p q", "response": response, "detail": "tokens"})

    ResponseReply.model_validate(found, strict=True, extra="forbid")
    for role in ("safety", "helpfulness"):
        tokens = found[role]["tokens"]
        assert tokens["offsets"] == [[0, 3], [3, 8], [8, 14]]
        assert tokens["texts"] == ["one", "  two", "\nthree"]
        assert tokens["rewards"] == expected(role, response, [3, 8, 14])
        assert tokens["rewards"][-1] == found[role]["reward"]
        assert len(tokens["ids"]) == 3
        assert "steps" not in found[role]


async def test_steps_have_rewards_scores_and_one_score_together(service):
    steps = ["first step.\n", "and a second, ", "third"]
    response = "".join(steps)

    found = await post(service, {"prompt": "p q", "steps": steps, "aggregation": "product"})

    ResponseReply.model_validate(found, strict=True, extra="forbid")
    plain = await post(service, {"prompt": "p q", "response": response})
    for role in ("safety", "helpfulness"):
        own = found[role]["steps"]
        assert own["offsets"] == [[0, 12], [12, 26], [26, 31]]
        assert own["rewards"] == expected(role, response, [12, 26, 31])
        scores = [1 / (1 + math.exp(-reward)) for reward in own["rewards"]]
        assert own["scores"] == pytest.approx(scores)
        assert (own["aggregation"], own["score"]) == ("product", pytest.approx(math.prod(scores)))
        assert {**found[role], "steps": None} == {**plain[role], "steps": None}
    assert found["selected_reward"] == plain["selected_reward"]


async def test_a_response_is_split_at_the_separator_as_if_it_had_been_given_so(service):
    steps = ["one", "two", "three"]

    default = await post(
        service, {"prompt": "p", "response": "\n\n".join(steps), "detail": "steps"}
    )
    given = await post(service, {"prompt": "p", "steps": ["one\n\n", "two\n\n", "three"]})
    tagged = await post(
        service,
        {"prompt": "p", "response": "a <s> b <s> ", "detail": "steps", "step_separator": "<s>"},
    )

    assert default == given
    assert default["safety"]["steps"]["offsets"] == [[0, 5], [5, 10], [10, 15]]
    assert tagged["safety"]["steps"]["offsets"] == [[0, 5], [5, 11]]


async def test_detail_is_for_all_items_and_steps_stay_as_they_were_given(service):
    chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a b\n\nc"}]
    items = [
        {"prompt": "p", "responses": ["a", "a\n\nb"]},
        {"messages": chat},
        {"prompt": "p", "steps": ["a\n\nb", "c"]},
        {"prompt": "p", "response": " "},
        {"prompt": "p"},
    ]

    reply = await post(service, {"items": items, "detail": "steps"})
    group, chat_reply, steps, empty, broken = reply["items"]
    tokens = await post(service, {"items": items[2:3], "detail": "tokens"})

    ScoreReply.model_validate(reply, strict=True, extra="forbid")
    assert [len(one["safety"]["steps"]["scores"]) for one in group["responses"]] == [1, 2]
    assert chat_reply["helpfulness"]["steps"]["offsets"] == [[0, 5], [5, 6]]
    assert steps["safety"]["steps"]["offsets"] == [[0, 4], [4, 5]]
    assert empty["error"]["pointer"] == "/items/3/response"
    assert broken["error"]["code"] == "missing_field"
    assert "steps" not in tokens["items"][0]["safety"]
    assert len(tokens["items"][0]["safety"]["tokens"]["ids"]) == 2


async def test_nothing_is_read_within_a_text_unless_it_is_asked_for(service, monkeypatch):
    forward, asked = service.scorer.forward, []

    def counting(items):
        asked.extend(item.num_extra_positions for item in items)
        return forward(items)

    monkeypatch.setattr(service.scorer, "forward", counting)

    found = await post(service, {"prompt": "p", "responses": ["a b", "c"]})

    assert set(found["responses"][0]["safety"]) == {"reward", "score"}
    assert asked == [0, 0]


async def test_a_line_of_a_file_may_ask_for_detail(service):
    lines = [
        {"prompt": "p", "response": "a b", "detail": "tokens"},
        {"prompt": "p", "steps": ["a ", "b"], "aggregation": "last"},
        {"prompt": "p", "responses": ["a", "b"], "advantages": "rloo"},
        {"prompt": "p", "response": "a b", "detail": "words"},
    ]
    reply = await service.client.post(
        "/score",
        content=b"\n".join(map(orjson.dumps, lines)),
        headers={"Content-Type": "application/x-ndjson"},
    )

    tokens, steps, group, wrong = map(orjson.loads, reply.content.splitlines())
    assert len(tokens["safety"]["tokens"]["rewards"]) == 2
    assert steps["safety"]["steps"]["aggregation"] == "last"
    first, second = (one["selected_reward"] for one in group["responses"])
    assert group["advantages"] == pytest.approx([first - second, second - first])
    assert wrong["error"]["pointer"] == "/detail"


async def test_a_reward_within_that_is_not_finite_fails_the_item_alone(service):
    items = [
        {"prompt": "p", "response": f"{NAN_MARK} b"},
        {"prompt": "p", "response": "fine"},
    ]

    bad, good = (await post(service, {"items": items, "detail": "tokens"}))["items"]

    assert bad["error"]["code"] == "nonfinite_reward"
    assert len(good["safety"]["tokens"]["rewards"]) == 1


async def test_a_reply_holds_so_many_rewards_and_no_more(start):
    async with start(max_reply_rewards=6) as service:
        fits = {"prompt": "p", "response": "a b c", "detail": "tokens"}
        beyond = {**fits, "response": "a b c d"}
        good = await service.client.post("/score", json=fits)
        refused = await service.client.post("/score", json=beyond)
        unasked = await service.client.post("/score", json={**beyond, "detail": None})
        line = await service.client.post(
            "/score",
            content=orjson.dumps(beyond),
            headers={"Content-Type": "application/x-ndjson"},
        )
        info = (await service.client.get("/v1/info")).json()

        assert (good.status_code, unasked.status_code) == (200, 200)
        assert (refused.status_code, refused.json()["code"]) == (413, "too_many_rewards")
        assert "8 rewards" in refused.json()["detail"]
        assert orjson.loads(line.content)["error"]["code"] == "too_many_rewards"
        assert info["limits"]["max_reply_rewards"] == 6
        assert len(service.scorer.forwards) == 2, "what is refused must not be computed"
        assert await service.metric("rm_queue_items") == 0


async def test_equal_responses_are_listed_and_counted(service):
    group = await post(service, {"prompt": "p", "responses": ["a", "b", "a", "b", "a", " a"]})
    same = await post(service, {"prompt": "p", "responses": ["a", "a"]})

    assert (group["duplicates"], group["num_duplicates"]) == ([2, 3, 4], 3)
    assert group["degenerate"] is False
    assert (same["duplicates"], same["degenerate"]) == ([1], True)
    assert await service.metric("rm_group_duplicate_responses_total") == 4
    assert await service.metric("rm_groups_total") == 2
    assert await service.metric("rm_groups_zero_std_total") == 1


async def real(tmp_path: Path, architecture: str, body: Any) -> httpx.Response:
    save_checkpoint(tmp_path / "model", architecture, tokenizer=make_tokenizer(add_bos=True))
    scorer = load_engine({"helpfulness": str(tmp_path / "model")})
    async with serving(tmp_path / "state", scorer) as client:
        return await client.post("/score", json=body)


async def test_over_the_wire_every_token_is_transformers_own(tmp_path):
    prompt, responses = "a prompt of some length: ", ["first é\n\nsecond", "another"]
    body = {"prompt": prompt, "responses": responses, "detail": "tokens"}

    group = (await real(tmp_path, "gemma2", body)).json()

    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    for response, found in zip(responses, group["responses"], strict=True):
        ids = tokenizer(prompt + response, return_tensors="pt").input_ids
        with torch.inference_mode():
            hidden = model.base_model(input_ids=ids).last_hidden_state[0]
            rewards = model.score(hidden)[:, 0].tolist()
        tokens = found["helpfulness"]["tokens"]
        count = len(response.encode())
        assert tokens["ids"] == ids[0, -count:].tolist()
        assert tokens["rewards"] == pytest.approx(rewards[-count:], abs=1e-5)
        assert [response[a:b] for a, b in tokens["offsets"]] == tokens["texts"]


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": "p", "response": "r", "detail": "tokens"},
        {"prompt": "p", "response": "r", "detail": "steps"},
        {"prompt": "p", "steps": ["r", "s"]},
    ],
)
async def test_an_encoder_refuses_detail_and_says_what_to_do(tmp_path, body):
    reply = await real(tmp_path, "bert", body)

    assert reply.status_code == 422
    (error,) = reply.json()["errors"]
    assert error["code"] == "detail_unavailable"
    assert "leave `detail` out" in error["detail"]
