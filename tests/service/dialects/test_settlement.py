"""What the ledger keeps gives back every number, to the last bit."""

from dataclasses import replace

import pytest

from rm_core.rewards.calibration import Calibration
from rm_core.rewards.rule import RewardRule, ScoredItem, apply_reward_rule
from rm_core.types import RenderedText
from service.dialects.base import Stamp, TextInput
from service.dialects.settlement import Settlement
from service.results import ItemFailure
from service.versions.version import ModelVersion
from tests.fakes import FakeScorer

RULE = RewardRule({"safety": Calibration(2.0, 0.1), "helpfulness": Calibration(1.0, 0.0)})
SCORED = (
    ScoredItem({"safety": 0.1, "helpfulness": 1 / 3}, 7, ("truncated",)),
    ScoredItem({"safety": 5.0, "helpfulness": -1e-17}, 3),
)
STAMP = Stamp("ab" * 16, 1_700_000_000)


def test_a_settlement_survives_the_ledger() -> None:
    settlement = Settlement(
        STAMP, (SCORED[0], None, SCORED[1]), (0.1 + 0.2, -1e300), -9.0, RULE, 'safety="ab"'
    )

    assert Settlement.from_bytes(settlement.to_bytes()) == settlement


def test_one_of_an_older_version_is_read_by_the_rule_of_the_models_that_are_loaded() -> None:
    older = Settlement(STAMP, (SCORED[0],), (0.5,))
    (place,) = places = [TextInput(RenderedText("a"), "/0")]

    kept = Settlement.from_bytes(older.to_bytes())
    (found,) = kept.text_rewards(places, RULE)

    assert (kept.rule, kept.provenance) == (None, "")
    assert found.scored_response == apply_reward_rule(RULE, SCORED[:1], [place.is_safety])[0]


def test_its_rewards_are_those_of_the_texts_that_were_scored() -> None:
    responses = apply_reward_rule(RULE, SCORED, [True, False])
    failure = ItemFailure("empty_text", "The text is empty.")
    version = replace(ModelVersion.of(FakeScorer()), rule=RULE)
    results = [responses[0], failure, responses[1]]
    settlement = Settlement.of(STAMP, results, [0.5, 1.5], -9.0, version)
    places = [
        TextInput(RenderedText("a"), "/0", is_safety=True),
        failure,
        TextInput(RenderedText("b"), "/2"),
    ]

    kept = Settlement.from_bytes(settlement.to_bytes())
    found = kept.text_rewards(places, ModelVersion.of(FakeScorer()).rule)

    assert [one.reward for one in found] == [0.5, -9.0, 1.5]
    assert [one.scored_response for one in found] == [responses[0], None, responses[1]]
    assert [one.failure is not None for one in found] == [False, True, False]
    assert found[0].scored_response is not None
    assert found[0].scored_response.selected == "safety"
    assert found[0].warnings == ("truncated",)
    assert found[0].score == pytest.approx(responses[0].scores["safety"])
