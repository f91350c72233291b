from dataclasses import replace

import pytest

from loadtest.errors import LoadTestError
from loadtest.scenarios import SCENARIOS, ScenarioBuilder
from loadtest.schedule import ClosedLoop, OpenLoop
from loadtest.settings import ScenarioSettings

SETTINGS = ScenarioSettings(
    texts=48, groups=3, responses=4, prompt_tokens=16, longest=128, burst_seconds=0.5, rate=40.0
)


@pytest.fixture
def builder(tokenizer):
    def unasked(workload):
        raise AssertionError("a rate is given: the capacity must not be measured")

    return ScenarioBuilder(tokenizer, SETTINGS, unasked)


def builder_of(tokenizer, **settings):
    return ScenarioBuilder(tokenizer, replace(SETTINGS, **settings), lambda _: 1.0)


def test_equal_seeds_build_equal_scenarios_in_the_same_order(tokenizer):
    one, same, other = (builder_of(tokenizer, seed=seed, texts=8) for seed in (3, 3, 4))

    built = [one.build(name) for name in SCENARIOS]
    assert built == [same.build(name) for name in SCENARIOS]
    assert built[0].workload != other.build("saturation").workload


def test_no_text_is_sent_twice_and_none_begins_as_one_of_another_scenario(tokenizer):
    sent = []

    def capacity(measured):
        sent.extend(measured)
        return 40.0

    builder = ScenarioBuilder(tokenizer, replace(SETTINGS, rate=None, texts=8), capacity)
    sent += [builder.build(name).workload for name in SCENARIOS]

    # A server remembers rewards and beginnings: it would answer the second time without work.
    assert len(sent) == len(SCENARIOS) + 3 * 4
    wholes = [text.whole for workload in sent for text in workload.texts]
    assert len(set(wholes)) == len(wholes)
    beginnings = [{text.whole[:60] for text in workload.texts} for workload in sent]
    assert len(set().union(*beginnings)) == sum(map(len, beginnings))


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_is_fixed_before_it_starts_and_fits_its_workload(builder, name):
    scenario = builder.build(name)

    assert scenario.name == name
    if isinstance(scenario.schedule, OpenLoop):
        assert len(scenario.schedule.times) == len(scenario.workload.requests)
    assert sum(scenario.group_sizes) in {0, len(scenario.workload.requests)}


def test_groups_and_their_members_singly_are_as_long_and_come_at_the_same_times(builder):
    groups, singles = builder.build("groups"), builder.build("group-singles")

    lengths = [text.num_tokens for text in groups.workload.texts]
    assert [text.num_tokens for text in singles.workload.texts] == lengths
    assert singles.group_sizes == (4, 4, 4)
    assert singles.schedule.times[::4] == groups.schedule.times == singles.schedule.times[3::4]


def test_times_and_clients_are_as_told(builder):
    assert max(builder.build("burst").schedule.times) <= 0.5
    assert set(builder.build("saturation").schedule.times) == {0.0}
    assert builder.build("singles").schedule == ClosedLoop(32)
    assert builder.build("one").schedule == ClosedLoop(1)


def test_the_rate_is_in_texts_a_second_or_a_share_of_what_was_measured(tokenizer):
    many = ScenarioSettings(texts=200, groups=2, prompt_tokens=16, rate=40.0)
    by_rate = ScenarioBuilder(tokenizer, many, lambda workload: 0.0).build("poisson")
    assert by_rate.schedule.times[-1] == pytest.approx(200 / 40, rel=0.2)

    half = ScenarioSettings(texts=200, share=0.5)
    by_share = ScenarioBuilder(tokenizer, half, lambda workload: 80.0).build("poisson")
    # Of equal lengths and times, though the words differ.
    assert by_share.schedule == by_rate.schedule


def test_what_comes_in_its_own_time_is_slow_and_may_be_sent_a_little_late(builder):
    staggered = builder.build("staggered")

    assert 1.0 < staggered.schedule.times[-1] <= 12.0  # a tenth of two minutes
    assert staggered.allowed_lateness_ms > builder.build("poisson").allowed_lateness_ms


def test_an_unknown_scenario_is_answered_with_the_known_ones(builder):
    with pytest.raises(LoadTestError, match="burst"):
        builder.build("flood")
