import json
from contextlib import contextmanager

import pytest

from loadtest.compare import SHAPES, CompareSettings, Comparison, compare
from loadtest.errors import LoadTestError
from loadtest.peers import peer_named
from loadtest.servers import Launch
from tests.loadtest.made_up_run import made_up_run


def run(texts_per_second, *, failed=0):
    return made_up_run(texts_per_second=texts_per_second, failed=failed)


@pytest.fixture
def comparison():
    return Comparison(
        runs={
            "rewardd": {"grpo": [run(60.0), run(30.0), run(90.0)]},
            "naive": {"grpo": [run(20.0), run(15.0), run(10.0)]},
        }
    )


def test_ratios_are_taken_within_a_round(comparison):
    assert comparison.ratios("naive", "grpo") == pytest.approx([3.0, 2.0, 9.0])
    assert "| rewardd | 60.0 |" in comparison.table()
    assert "| naive | 15.0 (3.00×, 2.00–9.00) |" in comparison.table()
    assert comparison.is_clean


def test_a_peer_with_wrong_rewards_is_marked(comparison):
    comparison.runs["naive"]["grpo"][1] = run(15.0, failed=3)

    assert not comparison.is_clean
    assert "✗" in comparison.table()
    assert "**naive, grpo: 3 × wrong reward**" in comparison.table()


def test_a_peer_that_does_not_start_is_left_out_and_told(models, tokenizer, tmp_path):
    absent = Launch(peer_named("litserve"), command=("{python}", "-c", "raise SystemExit('no')"))
    settings = CompareSettings(["one"], scale=0.05, rounds=2, directory=tmp_path)
    said = []

    found = compare(settings, [absent], {"safety": models.safety}, tokenizer, said.append)

    assert "litserve ended" in found.absent["litserve"]
    assert "**litserve: left out: litserve ended" in found.table()
    assert found.table().endswith("no**")
    assert sum("left out" in line for line in said) == 1
    assert not found.is_clean
    assert json.loads(json.dumps(found.to_json()))["absent"]


def test_no_shape_of_a_round_begins_a_text_as_another_shape_or_round_does(tokenizer):
    # A prefix cache that had seen a text's beginning would be measured as if it were fast.
    scenarios = [
        shape.scenario(tokenizer, 0.05, seed) for seed in range(3) for shape in SHAPES.values()
    ]
    beginnings = [{text.whole[:60] for text in each.workload.texts} for each in scenarios]

    assert len(set().union(*beginnings)) == sum(map(len, beginnings))
    assert scenarios[0] == SHAPES["grpo"].scenario(tokenizer, 0.05, 0)


def test_every_shape_warms_a_server_up_with_texts_of_its_own(
    models, tokenizer, monkeypatch, tmp_path
):
    sent = []

    @contextmanager
    def running(*_):
        yield None

    class Generator:
        def __init__(self, *_): ...

        def run(self, workload, _):
            sent.append(workload)

    def measured(scenario, *_, **__):
        sent.append(scenario.workload)
        return run(1.0)

    monkeypatch.setattr("loadtest.compare.Generator", Generator)
    monkeypatch.setattr("loadtest.compare.run_scenario", measured)
    monkeypatch.setattr(Launch, "running", running)
    settings = CompareSettings(["grpo", "one"], scale=0.2, rounds=2, directory=tmp_path)
    launches = [Launch(peer_named("naive"))]

    found = compare(settings, launches, {"safety": models.safety}, tokenizer, lambda _: None)

    texts = [{text.whole for text in workload.texts} for workload in sent]
    assert len(set().union(*texts)) == sum(map(len, texts))
    assert list(map(len, texts)) == [8, 3, 24, 13] * 2
    assert len(found.runs["naive"]["grpo"]) == 4


@pytest.mark.parametrize(("shape", "said"), [("two", "helpfulness"), ("round", "grpo, mixed")])
def test_a_shape_that_can_not_be_run_is_said(models, tokenizer, shape, said):
    with pytest.raises(LoadTestError, match=said):
        compare(CompareSettings([shape]), [], {"safety": models.safety}, tokenizer, print)
