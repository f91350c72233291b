import json
from contextlib import contextmanager

import pytest

from loadtest.compare import SHAPES, Comparison, Plan, compare, shape_seed
from loadtest.errors import LoadTestError
from loadtest.peers import peer_named
from loadtest.results import RunResult
from loadtest.servers import Launch


def run(texts_per_second, *, failed=0):
    return RunResult(
        name="grpo",
        offered=8 + failed,
        outcomes={"ok": 8, "refused": 0, "failed": failed},
        reasons={"wrong reward": failed} if failed else {},
        texts_ok=64,
        makespan_seconds=64 / texts_per_second,
        latencies_ms=(10.0,),
        group_latencies_ms=(),
        lateness_p99_ms=0.0,
        max_error=1e-6,
    )


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
    plan = Plan(
        launches=(absent,), models={"safety": models.safety}, shapes=("one",), scale=0.05, rounds=2
    )
    said = []

    found = compare(plan, tokenizer, said.append)

    assert "litserve ended" in found.absent["litserve"]
    assert "**litserve: left out: litserve ended" in found.table()
    assert found.table().endswith("no**")
    assert sum("left out" in line for line in said) == 1
    assert not found.is_clean
    assert json.loads(json.dumps(found.to_json()))["absent"]


@pytest.mark.parametrize("name", SHAPES)
def test_rounds_bring_fresh_texts_and_equal_seeds_the_same(tokenizer, name):
    first, again, other = (SHAPES[name].build(tokenizer, 0.05, seed) for seed in (1, 1, 2))

    assert first == again
    assert not {t.whole for t in first.workload.texts} & {t.whole for t in other.workload.texts}


def test_no_shape_of_a_round_begins_a_text_as_another_shape_or_round_does(tokenizer):
    # A prefix cache that had seen a text's beginning would be measured as if it were fast.
    beginnings = [
        {text.whole[:60] for text in shape.build(tokenizer, 0.05, seed).workload.texts}
        for number in range(3)
        for name, shape in SHAPES.items()
        for seed in [shape_seed(number, name)]
    ]

    assert len(set().union(*beginnings)) == sum(map(len, beginnings))


def test_every_shape_warms_a_server_up_with_texts_of_its_own(models, tokenizer, monkeypatch):
    sent = []

    class Generator:
        def __init__(self, *_, **__): ...

        def run(self, workload, _):
            sent.append(workload)
            return []

    @contextmanager
    def running(*_):
        yield None

    monkeypatch.setattr("loadtest.compare.Generator", Generator)
    monkeypatch.setattr("loadtest.compare.check_run", lambda *_, **__: run(1.0))
    monkeypatch.setattr(Launch, "running", running)
    plan = Plan(
        launches=(Launch(peer_named("naive")),),
        models={"safety": models.safety},
        shapes=("grpo", "one"),
        scale=0.2,
        rounds=2,
    )

    compare(plan, tokenizer, lambda _: None)

    texts = [{text.whole for text in workload.texts} for workload in sent]
    assert len(set().union(*texts)) == sum(map(len, texts))
    assert list(map(len, texts)) == [8, 3, 24, 13] * 2


def test_shapes_with_two_models_need_two(models, tokenizer):
    plan = Plan(launches=(), models={"safety": models.safety}, shapes=("two",))
    with pytest.raises(LoadTestError, match="helpfulness"):
        compare(plan, tokenizer, print)


def test_an_unknown_shape_is_answered_with_the_known_ones(models, tokenizer):
    plan = Plan(launches=(), models={"safety": models.safety}, shapes=("round",))
    with pytest.raises(LoadTestError, match="grpo, mixed"):
        compare(plan, tokenizer, print)
