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


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_is_fixed_before_it_starts_and_fits_its_workload(builder, name):
    scenario = builder.build(name)

    assert scenario == builder.build(name)
    assert scenario.name == name
    if isinstance(scenario.schedule, OpenLoop):
        assert len(scenario.schedule.times) == len(scenario.workload.requests)
    assert sum(scenario.group_sizes) in {0, len(scenario.workload.requests)}


def test_groups_and_their_members_singly_are_the_same_texts_at_the_same_times(builder):
    groups, singles = builder.build("groups"), builder.build("group-singles")

    assert singles.workload.texts == groups.workload.texts
    assert singles.group_sizes == (4, 4, 4)
    assert singles.schedule.times[::4] == groups.schedule.times == singles.schedule.times[3::4]


def test_times_and_clients_are_as_told(builder):
    assert max(builder.build("burst").schedule.times) <= 0.5
    assert set(builder.build("saturation").schedule.times) == {0.0}
    assert builder.build("singles").schedule == ClosedLoop(32)
    assert builder.build("one").schedule == ClosedLoop(1)


def test_the_rate_is_in_texts_a_second_or_a_share_of_what_was_measured(tokenizer):
    many = ScenarioSettings(texts=600, groups=2, prompt_tokens=16, rate=40.0)
    by_rate = ScenarioBuilder(tokenizer, many, lambda workload: 0.0).build("poisson")
    assert by_rate.schedule.times[-1] == pytest.approx(600 / 40, rel=0.2)

    half = ScenarioSettings(texts=600, share=0.5)
    by_share = ScenarioBuilder(tokenizer, half, lambda workload: 80.0).build("poisson")
    assert by_share.schedule == by_rate.schedule


def test_an_unknown_scenario_is_answered_with_the_known_ones(builder):
    with pytest.raises(LoadTestError, match="burst"):
        builder.build("flood")
