import json

from tests.training.evaluation.made_up_examples import MadeUpScorer, example
from training.data.filters import FilteredExamples
from training.evaluation.run import DataFacts, evaluate_scorers


def test_every_figure_of_the_report_is_in_its_json_under_its_own_name() -> None:
    examples = tuple(example(str(i), is_safe=(True, False), source="s") for i in range(4))
    scorer = MadeUpScorer(lambda text: float(len(text)) - 3.5)
    report = evaluate_scorers(
        FilteredExamples(examples, 3, {"identical_pair": 2}),
        [scorer],
        facts=DataFacts({"a.jsonl": "canonical"}, "heldout", {"malformed": 1}),
    ).report
    value = json.loads(report.to_text())
    assert value["data"]["files"] == {"a.jsonl": "canonical"}
    assert value["data"]["left_out"] == {"malformed": 1, "identical_pair": 2}
    assert (value["data"]["split"], value["data"]["tied_pairs"]) == ("heldout", 3)
    (one,) = value["scorers"]
    assert one["pairs"]["accuracy"]["value"] == 1.0
    assert one["safety"]["labels"]["at_half"]["recall_of_bad"]["value"] == 1.0
    assert one["subsets"]["subsets"]["s"]["by_prompt"]["prompts"] == 4
    assert set(one["robustness"]["half"]) >= {"flipped", "overturned", "shift"}
    assert one["rankings"] is None
    assert one == json.loads(json.dumps(report.scorers[0].to_json()))
