"""What is kept of recent traffic: the latest, bounded, and only while it is wanted."""

import pytest

from rm_core.rewards.rule import RewardRule, ScoredItem, apply_reward_rule
from rm_core.types import Dialogue, TokenIds
from service.results import ItemFailure
from service.swap import recent_traffic
from service.swap.recent_traffic import RecentTraffic
from tests.fakes import FakeScorer

RULE = RewardRule.of(FakeScorer().profiles)
(SCORED,) = apply_reward_rule(RULE, [ScoredItem({"safety": 0.1, "helpfulness": 0.2}, 3)], [False])


def offer(traffic: RecentTraffic, *responses: str) -> None:
    texts = [Dialogue("p", response, read_at="tokens") for response in responses]
    traffic.offer(texts, "error", False, [SCORED] * len(texts))


def test_nothing_is_kept_unless_it_is_wanted_nor_afterwards() -> None:
    traffic = RecentTraffic()
    offer(traffic, "before")
    with traffic.kept(2):
        offer(traffic, "a", "b", "c")
        kept = [item.text for item in traffic.items]
    offer(traffic, "after")

    assert kept == [Dialogue("p", "b"), Dialogue("p", "c")]
    assert traffic.items == ()


def test_failures_and_ids_are_not_compared() -> None:
    traffic = RecentTraffic()
    with traffic.kept(9):
        traffic.offer(
            [Dialogue("p", "r"), TokenIds((1, 2))], "error", False, [ItemFailure("x", "y"), SCORED]
        )
        assert len(traffic) == 0


async def test_long_texts_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_traffic, "MAX_CHARACTERS", 100)
    traffic = RecentTraffic()
    with traffic.kept(9):
        offer(traffic, "a" * 60, "b" * 60)
        await traffic.filled(30.0)  # there is no room for more

        assert [item.text for item in traffic.items] == [Dialogue("p", "b" * 60)]


async def test_waiting_for_traffic_ends_when_there_is_enough_or_the_time_is_over() -> None:
    traffic = RecentTraffic()
    with traffic.kept(2):
        await traffic.filled(0.0)
        offer(traffic, "a", "b")
        await traffic.filled(30.0)
