import math

import pytest

from rm_core.errors import ConfigurationError
from rm_core.rewards import Calibration
from rm_core.rewards.rule import RewardRule, ScoredItem, apply_reward_rule
from rm_core.types import ModelProfile, SafetyThreshold

IDENTITY = {"safety": Calibration(), "helpfulness": Calibration()}


def profile(role, **values) -> ModelProfile:
    return ModelProfile(role, "name", "digest", None, 512, **values)


def test_tau_comes_from_the_setting_then_the_checkpoint_then_the_paper():
    safety = profile("safety", safety_threshold=SafetyThreshold(0.4, "by hand"))
    own = {"safety": safety, "helpfulness": profile("helpfulness")}

    def told(rule: RewardRule) -> tuple[float, str]:
        return rule.tau, rule.tau_source

    assert told(RewardRule.of(own, tau=0.3)) == (0.3, "setting")
    assert told(RewardRule.of(own)) == (0.4, "checkpoint")
    only_helpfulness = {"helpfulness": profile("helpfulness")}
    assert told(RewardRule.of(only_helpfulness)) == (0.15, "default")
    assert told(RewardRule.of({"safety": profile("safety")})) == (0.15, "default")
    with pytest.raises(ConfigurationError):
        RewardRule.of({})


def test_a_score_of_exactly_tau_belongs_to_helpfulness():
    at = math.log(0.15 / 0.85)
    items = [ScoredItem({"safety": r, "helpfulness": 1.0}, 3) for r in (at, at - 1e-9, at + 1e-9)]

    judged = apply_reward_rule(RewardRule(IDENTITY), items, [False] * 3)

    assert [one.selected for one in judged] == ["helpfulness", "safety", "helpfulness"]


def test_extreme_rewards_stay_finite_and_never_go_through_the_sigmoid():
    items = [ScoredItem({"safety": r, "helpfulness": -r}, 3) for r in (40.0, -40.0)]

    judged = apply_reward_rule(RewardRule(IDENTITY), items, [True, False])

    assert [one.logit for one in judged] == [40.0, -40.0]
    assert all(0.0 <= score <= 1.0 for one in judged for score in one.scores.values())


def test_calibration_changes_score_and_selected_reward_and_not_the_raw_reward():
    rule = RewardRule({"safety": Calibration(2.0, 1.0)})

    (judged,) = apply_reward_rule(rule, [ScoredItem({"safety": 4.0}, 3, ("missing_eos",))], [False])

    assert judged.as_json() == {
        "safety": {
            "reward": 4.0,
            "score": pytest.approx(1 / (1 + math.exp(-3.0))),
            "calibrated_reward": 3.0,
        },
        "selected": "safety",
        "selected_reward": 3.0,
        "num_tokens": 3,
        "warnings": ["missing_eos"],
    }


def test_a_safety_prompt_without_a_safety_model_is_warned_of_and_scored_all_the_same():
    items = [ScoredItem({"helpfulness": 1.0}, 3, ("truncated",)) for _ in range(2)]

    told = apply_reward_rule(RewardRule({"helpfulness": Calibration()}), items, [True, False])

    assert [one.as_json()["warnings"] for one in told] == [
        ["truncated", "no_safety_model"],
        ["truncated"],
    ]
    assert [(one.selected, one.logit) for one in told] == [("helpfulness", 1.0)] * 2
    both = [ScoredItem({"safety": 1.0, "helpfulness": 1.0}, 3)]
    assert apply_reward_rule(RewardRule(IDENTITY), both, [True])[0].scored.warnings == ()
    alone = apply_reward_rule(RewardRule({"safety": Calibration()}), both[:1], [True])
    assert alone[0].scored.warnings == ()


def test_no_responses_have_no_judgements():
    assert apply_reward_rule(RewardRule(IDENTITY), [], []) == []


def test_models_of_other_names_are_scored_in_order_and_do_not_touch_the_selection():
    two = RewardRule.of({"safety": profile("safety"), "helpfulness": profile("helpfulness")})
    names = ("honesty", "safety", "brevity", "helpfulness")
    four = RewardRule.of(
        {name: profile(name, temperature=2.0 if name == "brevity" else 1.0) for name in names}
    )
    rewards = {"honesty": 9.0, "safety": 1.0, "brevity": -3.0, "helpfulness": 0.5}

    (told,) = apply_reward_rule(four, [ScoredItem(rewards, 3)], [False])
    (alone,) = apply_reward_rule(two, [ScoredItem({"safety": 1.0, "helpfulness": 0.5}, 3)], [False])

    assert four.roles == two.roles == ("safety", "helpfulness")
    assert list(told.calibrated.items()) == [
        ("honesty", 9.0),
        ("safety", 1.0),
        ("brevity", -1.5),
        ("helpfulness", 0.5),
    ]
    assert list(told.scores) == list(told.scored.rewards) == list(names)
    assert four.further == ("honesty", "brevity")
    reply = told.as_json()
    assert list(reply.pop("rewards")) == ["honesty", "brevity"]
    assert list(reply.items()) == list(alone.as_json().items())


def test_without_a_model_that_the_rule_knows_nothing_is_selected():
    rule = RewardRule.of({"honesty": profile("honesty", temperature=2.0)})

    (told,) = apply_reward_rule(rule, [ScoredItem({"honesty": 3.0}, 4)], [True])

    assert told.selected is None
    assert math.isnan(told.logit)
    assert told.as_json() == {
        "rewards": {
            "honesty": {
                "reward": 3.0,
                "score": pytest.approx(1 / (1 + math.exp(-1.5))),
                "calibrated_reward": 1.5,
            }
        },
        "num_tokens": 4,
        "warnings": [],
    }
