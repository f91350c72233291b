import json

import pytest

from tests.training.evaluation.made_up_examples import MadeUpScorer, example, steps
from training.data.examples import Example
from training.data.filters import FilteredExamples
from training.errors import DataError
from training.evaluation.baselines import baseline_scorers
from training.evaluation.perturbations import PERTURBATIONS, PRAISE
from training.evaluation.run import EvaluationOptions, evaluate_scorers


def built(*examples: Example) -> FilteredExamples:
    return FilteredExamples(examples, 0, {})


def by_length(text: str) -> float:
    return float(len(text))


def some_examples(count: int = 6) -> list[Example]:
    return [example(str(i), (f"a longer answer {i}", f"short {i}")) for i in range(count)]


def test_every_scorer_is_measured_on_the_same_responses() -> None:
    examples = [example("a", ("aaa", "bb", "c")), example("b", ("dd", "e"))]
    picky = MadeUpScorer(lambda text: None if text.startswith("c") else 1.0, "picky")
    lavish = MadeUpScorer(by_length, "lavish")
    run = evaluate_scorers(built(*examples), [picky, lavish])
    data = run.report.data
    assert data.left_out == {"picky: input_too_long": 1}
    assert (data.prompts, data.responses, data.pairs) == (2, 4, 2)
    assert run.rewards["lavish"] == [(3.0, 2.0), (2.0, 1.0)]
    pairs = [one.pairs.accuracy.pairs for one in run.report.scorers if one.pairs is not None]
    assert pairs == [2, 2]


def test_perturbations_reach_the_scorer_and_their_effect_the_report() -> None:
    def vain(text: str) -> float:
        return 10.0 if PRAISE in text else float(len(text)) / 100

    scorer = MadeUpScorer(vain)
    run = evaluate_scorers(built(*some_examples()), [scorer])
    (figures,) = run.report.scorers
    praised = figures.robustness["praise"]
    assert praised.overturned.value == 1.0
    assert praised.flipped.value == 0.5  # both at 10 are tied
    assert "lower_case" not in figures.robustness  # there was no capital letter
    assert run.report.data.robustness_prompts == 6
    assert len(scorer.asked) == 12 * (1 + len(PERTURBATIONS) - 1)


def test_only_so_many_prompts_are_perturbed_whatever_their_order() -> None:
    examples = some_examples(20)
    options = EvaluationOptions(robustness_prompts=3)
    forward, backward = MadeUpScorer(by_length), MadeUpScorer(by_length)
    evaluate_scorers(built(*examples), [forward], options)
    evaluate_scorers(built(*reversed(examples)), [backward], options)
    perturbed = {one.prompt for one in forward.asked[40:]}
    assert len(perturbed) == 3
    assert perturbed == {one.prompt for one in backward.asked[40:]}
    none = MadeUpScorer(by_length)
    run = evaluate_scorers(built(*examples), [none], EvaluationOptions(robustness_prompts=0))
    assert len(none.asked) == 40
    assert run.report.scorers[0].robustness == {}


def test_a_refused_perturbation_takes_its_response_out_of_that_perturbation_alone() -> None:
    def short_only(text: str) -> float | None:
        return None if len(text) > 40 else by_length(text)

    examples = [example("a", ("x" * 30, "y" * 12)), example("b", ("z" * 8, "w" * 5))]
    run = evaluate_scorers(built(*examples), [MadeUpScorer(short_only)])
    repeated = run.report.scorers[0].robustness["repeated"]
    assert repeated.shift.count == 3
    assert repeated.flipped.count == 1
    assert run.report.data.left_out == {}


def test_steps_and_labels_need_no_pairs() -> None:
    solution = example("a", ("goodbad!",), steps=(steps(1, 0),), is_safe=(True,))

    def reward(text: str) -> float:
        return -1.0 if text.startswith("bad") else 1.0

    run = evaluate_scorers(built(solution), [MadeUpScorer(reward)])
    (figures,) = run.report.scorers
    assert figures.pairs is None
    assert figures.subsets is None
    assert figures.steps.steps.auc.value == 1.0
    assert figures.safety is not None


def test_the_report_is_strict_json_whatever_is_missing() -> None:
    lonely = example("a", ("only",), ratings=(3.0,), source="s")
    for examples in ([lonely], [example("b")], some_examples(30)):
        run = evaluate_scorers(
            built(*examples), [MadeUpScorer(by_length), *baseline_scorers(examples)]
        )
        value = json.loads(run.report.to_text(), parse_constant=pytest.fail)
        assert value["version"] == 1
        assert value["data"]["prompts"] == len(examples)
        assert value["scorers"][0]["scorer"]["name"] == "made up"


def test_progress_comes_to_the_number_of_texts() -> None:
    told: list[tuple[str, int, int]] = []
    evaluate_scorers(
        built(*some_examples()),
        [MadeUpScorer(by_length)],
        EvaluationOptions(robustness_prompts=0),
        on_progress=lambda info, done, total: told.append((info.name, done, total)),
    )
    assert told[0] == ("made up", 0, 12)
    assert told[-1] == ("made up", 12, 12)


def test_nothing_readable_is_an_error_that_says_why() -> None:
    with pytest.raises(DataError, match="4 × made up: input_too_long"):
        evaluate_scorers(built(*some_examples(2)), [MadeUpScorer(lambda _: None)])
