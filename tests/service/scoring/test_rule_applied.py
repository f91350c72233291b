import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from rm_client.models import GroupItem, ResponseItem
from rm_core.rewards.rule import ScoredResponse
from service.batching.queue import Submission
from service.problems import Problem
from service.results import ItemFailure, ItemResult
from service.schemas.score import ScorableWireItem
from service.scoring.score_items import score_items
from tests.service.conftest import Service, Start
from tests.service.rig import until
from tests.service.scripted import ScriptedScorer, serving

BROKEN = ItemFailure("missing_field", "say what was asked", "/items/1/prompt")


def described(results: ItemResult) -> str | tuple[str, str]:
    if isinstance(results, ItemFailure):
        return results.code, results.pointer
    return results.selected


@pytest.mark.parametrize("route", ["/score", "/compare", "/ppo_reward"])
async def test_a_safety_prompt_without_a_safety_model_is_warned_of(
    tmp_path: Path, route: str
) -> None:
    responses = {"responses": ["a", "b"]} if route == "/compare" else {"response": "a"}
    items = [{"prompt": "p", **responses, "is_safety": tag} for tag in (True, False)]
    async with serving(tmp_path, ScriptedScorer(("helpfulness",))) as client:
        reply = await client.post(route, json={"items": items})

    tagged, plain = reply.json()["items"]
    for one in tagged.get("responses", [tagged]):
        assert "no_safety_model" in one["warnings"]
    assert "no_safety_model" not in str(plain)


async def test_every_outcome_lands_at_its_own_item_with_a_pointer_into_the_body(
    service: Service,
) -> None:
    items = [
        ScorableWireItem(GroupItem(prompt="p", responses=["a", "  ", "b"])),
        BROKEN,
        ScorableWireItem(ResponseItem(prompt="p", response="")),
        ScorableWireItem(ResponseItem(prompt="p", response="c")),
    ]

    results = await score_items(
        service.state, items, [f"/items/{i}" for i in range(4)], Submission("/score")
    )

    assert [len(own) for own in results] == [3, 1, 1, 1]
    assert described(results[0][1]) == ("empty_text", "/items/0/responses/1")
    assert results[1] == [BROKEN]
    assert described(results[2][0]) == ("empty_text", "/items/2/response")
    alone = await score_items(service.state, [items[3]], [""], Submission("/score"))
    assert results[3] == alone[0]
    assert isinstance(results[3][0], ScoredResponse)


async def test_a_tag_of_safety_holds_for_its_own_item_also_behind_failures(start: Start) -> None:
    texts = [f"answer {i}" for i in range(12)]
    async with start(tau=1e-9) as service:  # so low that only a tag selects safety
        items = [
            BROKEN
            if i % 4 == 0
            else ScorableWireItem(ResponseItem(prompt="p", response=t, is_safety=i % 3 == 0))
            for i, t in enumerate(texts)
        ]
        results = await score_items(service.state, items, [""] * 12, Submission("/score"))

        for index, (own,) in enumerate(results):
            if index % 4 == 0:
                assert own == BROKEN
            else:
                assert described(own) == ("safety" if index % 3 == 0 else "helpfulness")
        counted = {
            role: await service.metric("rm_selection_total", route="/score", branch=role)
            for role in ("safety", "helpfulness")
        }
        assert counted == {"safety": 3.0, "helpfulness": 6.0}


async def test_the_bound_on_items_is_on_responses(start: Start) -> None:
    async with start(max_items=4) as service:
        group = ScorableWireItem(GroupItem(prompt="p", responses=["a", "b", "c"]))
        await score_items(
            service.state,
            [group, ScorableWireItem(ResponseItem(prompt="p", response="d"))],
            ["", ""],
            Submission("/score"),
        )
        with pytest.raises(Problem) as refused:
            await score_items(service.state, [group, group], ["", ""], Submission("/score"))

    assert refused.value.status == 413
    assert service.scorer.encoded == 4


@pytest.mark.parametrize(
    ("route", "body", "kind"),
    [
        ("/ppo_reward", {"items": [{"prompt": "p", "response": "bulk"}]}, "application/json"),
        ("/score", {"prompt": "p", "response": "bulk"}, "application/x-ndjson"),
        ("/get_reward", {"query": ["bulk"]}, "application/json"),
    ],
)
async def test_a_caller_of_score_overtakes_the_bulk_work_of_a_trainer(
    start: Start, route: str, body: dict[str, Any], kind: str
) -> None:
    async with start(max_pack_items=1) as service:

        def send(path: str, content: Any, kind: str = "application/json") -> Any:
            headers = {"Content-Type": kind}
            return asyncio.create_task(
                service.client.post(path, content=orjson.dumps(content), headers=headers)
            )

        async def until_queued(count: float) -> None:
            value = service.state.metrics.registry.get_sample_value
            await until(lambda: value("rm_queue_items") == count)

        async with service.holding():
            sent = [send(route, body, kind)]
            await until_queued(1)
            sent.append(send("/score", {"prompt": "q", "response": "quick"}))
            await until_queued(2)

        replies = await asyncio.gather(*sent)
        assert [reply.status_code for reply in replies] == [200] * 2
        assert service.scorer.forwards == [["held"], ["quick"], ["bulk"]]
