"""Shadow scoring: what callers sent, by the other version, with its own rule."""

from rm_core.rewards.rule import ScoredItem, apply_reward_rule
from rm_core.types import Dialogue
from service.swap.recent_traffic import RecentItem
from service.swap.shadow import shadow_score
from service.versions.version import ModelVersion
from tests.fakes import ERROR_MARK, NAN_MARK, FakeScorer, fake_reward


def recent(version: ModelVersion, response: str) -> RecentItem:
    dialogue = Dialogue("p", response)
    rewards = {name: fake_reward(name, dialogue) for name in version.profiles}
    (scored,) = apply_reward_rule(version.rule, [ScoredItem(rewards, 2)], [False])
    return RecentItem(dialogue, "error", False, scored)


def test_a_version_agrees_with_itself_and_failures_are_counted() -> None:
    version = ModelVersion.of(FakeScorer())
    items = [recent(version, f"text {number}") for number in range(20)]
    items += [recent(version, NAN_MARK), recent(version, ERROR_MARK)]

    found = shadow_score(version, items[:-1], 1000)

    assert found is not None
    assert (found.num_items, found.num_failed) == (20, 1)
    assert found.same_selection == 1.0
    for own in (*found.models.values(), found.selected):
        assert own is not None
        assert (own.order_agreement, own.max_difference) == (1.0, 0.0)


def test_where_nothing_can_be_scored_there_is_nothing_to_tell() -> None:
    version = ModelVersion.of(FakeScorer())

    assert shadow_score(version, [recent(version, NAN_MARK)], 1000) is None
