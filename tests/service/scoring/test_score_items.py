from types import SimpleNamespace
from typing import Any

import pytest

from rm_core.rewards.rule import PositionRewards, ScoredItem
from rm_core.types import Dialogue, Encoded, EncodedItem, ReadPosition
from service.batching.queue import Submission
from service.errors import DeadlineExceeded, DetailTooLarge, QueueFull, RequestTooLarge
from service.observability.metrics import Metrics
from service.problems import Problem, ProblemItem
from service.results import ItemFailure
from service.scoring.score_items import score_dialogues
from service.settings import Settings


class StubScheduler:
    """Notes how it is called, and refuses."""

    def __init__(self, refusal: Exception | None = None) -> None:
        self.refusal = refusal
        self.options: dict[str, Any] = {}

    async def score(self, dialogues: Any, submission: Submission, **options: Any) -> list[Any]:
        self.options = options
        if self.refusal is not None:
            raise self.refusal
        return []


def state_with(scheduler: StubScheduler, **settings: Any) -> Any:
    return SimpleNamespace(scheduler=scheduler, metrics=Metrics(), settings=Settings(**settings))


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        (RequestTooLarge(9, 8), 413, "too_many_tokens"),
        (DetailTooLarge(9, 8), 413, "too_many_rewards"),
        (DeadlineExceeded("queue"), 504, "deadline_exceeded"),
        (QueueFull("queue_full", 7), 503, "overloaded"),
    ],
)
async def test_a_refusal_of_the_scheduler_becomes_its_problem(
    refusal: Exception, status: int, code: str
) -> None:
    state = state_with(StubScheduler(refusal), overload_status=503)

    with pytest.raises(Problem) as raised:
        await score_dialogues(state, [Dialogue("p", "r")] * 3, Submission("/score"))

    assert (raised.value.status, raised.value.code) == (status, code)


@pytest.mark.parametrize("status", [429, 503])
async def test_overload_says_when_to_come_again_and_is_counted_by_item(status: int) -> None:
    state = state_with(StubScheduler(QueueFull("queue_wait", 7)), overload_status=status)

    with pytest.raises(Problem) as raised:
        await score_dialogues(state, [Dialogue("p", "r")] * 3, Submission("/compare"))

    assert raised.value.status == status
    assert raised.value.headers["Retry-After"] == "7"
    refused = state.metrics.registry.get_sample_value(
        "rm_admission_rejected_total", {"route": "/compare", "reason": "queue_wait"}
    )
    assert refused == 3.0


@pytest.mark.parametrize(
    ("options", "patience"),
    [
        ({}, 3.0),
        ({"priority": "bulk"}, 30.0),
        ({"priority": "bulk", "patience_seconds": 0.0}, 0.0),
    ],
)
async def test_how_long_a_request_waits_depends_on_its_class_unless_it_says_so(
    options: dict[str, Any], patience: float
) -> None:
    scheduler = StubScheduler()
    state = state_with(scheduler, max_queue_wait_seconds=3.0, max_bulk_queue_wait_seconds=30.0)

    await score_dialogues(state, [Dialogue("p", "r")], Submission("/score", **options))

    assert scheduler.options == {"patience_seconds": patience}


def test_a_failure_is_moved_below_its_item_and_keeps_the_rest() -> None:
    other = ProblemItem("/items/3/prompt", "missing_field", "say what was asked")
    failure = ItemFailure("empty_text", "nothing to judge", "/response", 422, (other,))

    moved = failure.below("/items/3")

    assert moved.problem_items() == [
        ProblemItem("/items/3/response", "empty_text", "nothing to judge"),
        other,
    ]
    assert failure.pointer == "/response"
    assert failure.at("/items/9").pointer == "/items/9"


def test_a_failure_in_a_reply_is_text_that_json_can_carry() -> None:
    reply = ItemFailure("invalid_item", "odd \ud800 name", "/items/0").as_json()

    assert reply["error"]["pointer"] == "/items/0"
    reply["error"]["detail"].encode("utf-8")


def test_a_scored_item_parts_the_responses_reward_from_those_within_it() -> None:
    places = (ReadPosition(1, 0, 1, "a"), ReadPosition(2, 1, 2, "b"))
    item = EncodedItem(
        {
            "safety": Encoded((7, 8, 9), 2, 1, ("missing_eos",), places),
            "helpfulness": Encoded((7, 8), 1, 1, ("missing_eos",)),
        }
    )

    scored = ScoredItem.of(item, {"safety": (0.5, 0.25, 0.75), "helpfulness": (1.5,)})

    assert scored == ScoredItem(
        {"safety": 0.5, "helpfulness": 1.5},
        3,
        ("missing_eos",),
        {"safety": PositionRewards(places, (8, 9), (0.25, 0.75))},
    )
