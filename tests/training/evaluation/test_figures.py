import json
import math

from tests.training.evaluation.made_up_examples import example
from training.data.examples import Pair
from training.evaluation.figures import evaluate, json_of
from training.evaluation.scorer import ScorerInfo

MODEL = ScorerInfo("m", "reward_model", "a rule of a test")


def test_what_is_not_finite_is_null_in_json_at_any_depth() -> None:
    value = {"a": [1.0, math.nan, (math.inf, {"b": -math.inf})], 2: "c", "d": None}
    assert json_of(value) == {"a": [1.0, None, [None, {"b": None}]], "2": "c", "d": None}


def test_a_part_that_the_data_tell_nothing_of_is_none() -> None:
    figures = evaluate([example("a", ("x",))], [(2.0,)], MODEL)

    assert (figures.reward_mean, figures.reward_std) == (2.0, 0.0)
    assert {figures.pairs, figures.safety, figures.rankings, figures.steps} == {None}


def test_a_manifest_has_the_figures_of_pairs_among_the_others() -> None:
    examples = [
        example("a", ("x", "y"), pairs=[Pair(0, 1)]),
        example("b", ("x", "y", "z"), pairs=()),
    ]
    value = json.loads(
        json.dumps(evaluate(examples, [(1.0, 0.0), (0.0, 9.0, 0.0)], MODEL).to_metrics())
    )

    assert value["accuracy"]["value"] == 1.0
    assert value["prompts"] == 2  # all of them, not those with pairs
    assert (value["responses"], value["reward_mean"]) == (5, 2.0)
    assert not {"pairs", "scorer", "subsets", "robustness"} & set(value)


def test_a_report_has_them_in_a_part_of_their_own_with_the_spread_of_all_rewards() -> None:
    examples = [
        example("a", ("x", "y"), pairs=[Pair(0, 1)]),
        example("b", ("x", "y", "z"), pairs=()),
    ]
    value = evaluate(examples, [(1.0, 0.0), (0.0, 9.0, 0.0)], MODEL).to_json()

    pairs = value["pairs"]
    assert (pairs["prompts"], pairs["responses"], pairs["reward_mean"]) == (1, 5, 2.0)
    assert value["scorer"]["name"] == "m"
    assert not {"prompts", "responses", "ratings"} & set(value)
