"""What the ledger keeps gives back every number, to the last bit."""

from dataclasses import replace

import pytest

from rm_core.rewards.calibration import Calibration
from rm_core.rewards.rule import RewardRule, ScoredItem, apply_reward_rule
from service.dialects.base import Stamp
from service.dialects.settlement import Settlement
from service.errors import IdempotencyConflict
from service.results import ItemFailure
from service.versions.version import ModelVersion
from tests.fakes import FakeScorer

RULE = RewardRule({"safety": Calibration(2.0, 0.1), "helpfulness": Calibration(1.0, 0.0)})
SCORED = (
    ScoredItem({"safety": 0.1, "helpfulness": 1 / 3}, 7, ("truncated",)),
    ScoredItem({"safety": 5.0, "helpfulness": -1e-17}, 3),
)
STAMP = Stamp("ab" * 16, 1_700_000_000)
FAILURE = ItemFailure("empty_text", "The text is empty.")


def settlement() -> Settlement:
    first, last = apply_reward_rule(RULE, SCORED, [True, False])
    version = replace(ModelVersion.of(FakeScorer()), rule=RULE)
    results = [first, FAILURE, last]
    return Settlement.of(STAMP, results, [0.1 + 0.2, -1e300], -9.0, version)


def test_a_settlement_survives_the_ledger() -> None:
    assert Settlement.from_bytes(settlement().to_bytes()) == settlement()


def test_its_rewards_are_those_of_the_texts_that_were_scored() -> None:
    responses = apply_reward_rule(RULE, SCORED, [True, False])

    found = Settlement.from_bytes(settlement().to_bytes()).text_rewards()

    assert [one.reward for one in found] == [0.1 + 0.2, -9.0, -1e300]
    assert [one.scored_response for one in found] == [responses[0], None, responses[1]]
    assert [one.failure is not None for one in found] == [False, True, False]
    assert [one.names for one in found] == [RULE.names] * 3
    assert found[0].scored_response is not None
    assert found[0].scored_response.selected == "safety"
    assert found[0].warnings == ("truncated",)
    assert found[0].score == pytest.approx(responses[0].scores["safety"])


def test_an_earlier_releases_settlement_is_refused_and_not_guessed_at() -> None:
    with pytest.raises(IdempotencyConflict, match="earlier rewardd"):
        Settlement.from_bytes(b'["ab", 1, [[{"safety": 0.1}, 7, []]], [0.5], null]')
