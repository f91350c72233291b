from dataclasses import replace
from functools import partial

import pytest

from loadtest.bench.cpu import bench_checkpoints
from loadtest.errors import LoadTestError
from loadtest.settings import BenchSettings
from rm_core.engine import load_engine

SMALL = {"groups": 2, "responses": 3, "prompt_tokens": 24, "texts": 4, "rounds": 2}


@pytest.fixture
def bench(models, tmp_path):
    return partial(bench_checkpoints, models, directory=tmp_path)


def test_every_way_is_timed_checked_and_right(bench):
    found = [
        rounds
        for shape in ("grpo", "mixed")
        for rounds in bench(BenchSettings(**SMALL, shape=shape))
    ]

    assert [rounds.title.split(",")[0] for rounds in found] == ["grpo", "grpo", "mixed", "mixed"]
    for rounds in found:
        assert rounds.wrong() == []
        assert all(len(timing.seconds) == 2 for timing in rounds.timings.values())
        assert rounds.reference in rounds.timings
    one, two, independent, _ = found
    assert set(one.timings) == {
        *("ours", "naive padded", "one group a batch", "sorted by length", "one at a time"),
        *("bare GEMMs", "bare GEMMs of what is read", "bare GEMMs and SDPA of what is read"),
    }
    assert {"ours, one trunk", "ours, two trunks", "naive padded"} <= set(two.timings)
    # Responses may begin alike by chance, which is shared too.
    saved = one.facts["tokens"] - one.facts["after sharing within packs"]
    assert 2 * 2 * 24 <= saved < 2 * 2 * 24 + 20
    assert independent.facts["after sharing within packs"] == independent.facts["tokens"]
    assert one.facts["path"] == "packed"


def test_every_other_shape_is_timed_and_right(bench):
    options = BenchSettings(**{**SMALL, "rounds": 1}, heads=3, baselines=False)
    found = {
        shape: rounds
        for shape in ("singles", "one", "turns", "again", "staggered", "heads")
        for rounds in bench(replace(options, shape=shape))
    }

    assert [rounds.wrong() for rounds in found.values()] == [[]] * 6
    assert set(found["turns"].timings) == set(found["one"].timings) == {"ours"}
    assert found["turns"].num_texts == 2 * 6
    assert found["again"].num_texts == found["staggered"].num_texts == 2 * 3
    assert found["one"].facts["packs"] == found["one"].num_texts == 4
    assert set(found["staggered"].timings) == {
        *("ours, in one burst", "ours, one text after the other")
    }
    assert len(found["staggered"].ratios("ours, one text after the other")) == 1
    assert list(found["heads"].timings) == ["one head", "3 heads on one trunk"]


def test_preparing_keeps_the_true_rewards_and_times_nothing(bench, tmp_path, monkeypatch):
    options = BenchSettings(**SMALL, shape="mixed", two=False, baselines=False)

    assert bench(replace(options, prepare=True)) == []

    # What is kept need not be computed while the machine is quiet.
    monkeypatch.setattr("loadtest.oracle.rewards_alone", None)
    (rounds,) = bench(options)
    assert rounds.wrong() == []


def test_half_precision_is_held_against_float32(bench):
    options = BenchSettings(**SMALL, shape="grpo", dtype="bfloat16", two=False)
    (rounds,) = bench(options)

    assert rounds.wrong() == []
    assert 1e-4 < rounds.timings["one at a time"].max_error < rounds.tolerance
    # Our own float32 is timed beside it, so that the price and the gain stand in one table.
    assert 1e-4 < rounds.timings["ours"].max_error < rounds.tolerance
    assert rounds.timings["ours, float32"].max_error < 1e-5
    assert float(rounds.facts["spread of the rewards"]) > 0


def test_the_deterministic_mode_is_timed_beside_the_default(bench):
    options = BenchSettings(**SMALL, shape="grpo", deterministic=True, baselines=False, two=False)
    (rounds,) = bench(options)

    assert list(rounds.timings) == ["ours", "ours, deterministic"]
    assert rounds.wrong() == []
    assert rounds.timings["ours, deterministic"].max_error < 1e-5
    assert len(rounds.ratios("ours, deterministic")) == 2


def test_int8_has_no_padded_way_of_its_own(bench, monkeypatch):
    # torchao is an extra; what is asked of the engine is the point here.
    asked = []

    def engine(models, options, **where):
        asked.append(options.dtype)
        return load_engine(models, replace(options, dtype="float32"), **where)

    monkeypatch.setattr("loadtest.bench.cpu.load_engine", engine)
    options = BenchSettings(**SMALL, shape="mixed", dtype="int8", two=False)
    (rounds,) = bench(options)

    assert asked == ["int8", "float32"]
    assert not [strategy for strategy in rounds.timings if "GEMM" in strategy]
    assert rounds.timings["one at a time"].max_error < 1e-5


@pytest.mark.parametrize("wrong", [{"shape": "square"}, {"dtype": "int4"}])
def test_unknown_names_are_answered_with_the_known_ones(bench, wrong):
    with pytest.raises(LoadTestError, match="there are"):
        bench(BenchSettings(**wrong))
