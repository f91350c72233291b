import pytest

from tests.training.evaluation.made_up_examples import example
from training.evaluation.subsets import subset_figures

CASES = [
    example("a", ("x", "y", "z"), source="chat", tags=("easy", "short")),
    example("b", source="chat", tags=("easy",)),
    example("c", source="chat-hard"),
    example("d", source="code", tags=("hard",)),
    example("e", source="code", tags=("hard",)),
    example("f", ("alone",), source="labels"),
]
# All three pairs of the first right, then: wrong, right, right, a tie.
REWARDS = [(3.0, 2.0, 1.0), (0.0, 1.0), (1.0, 0.0), (1.0, 0.0), (0.0, 0.0), (5.0,)]


def test_every_prompt_of_a_subset_weighs_the_same() -> None:
    found = subset_figures(CASES, REWARDS, grouping="source")
    assert set(found.subsets) == {"chat", "chat-hard", "code"}
    chat = found.subsets["chat"]
    assert chat.accuracy.value == pytest.approx(3 / 4)  # by pairs
    assert chat.by_prompt.value == pytest.approx(1 / 2)
    assert found.subsets["code"].by_prompt.value == pytest.approx(3 / 4)
    assert found.average.value == pytest.approx((1 / 2 + 1 + 3 / 4) / 3)


def test_sections_pool_the_prompts_of_their_subsets_and_the_average_is_their_plain_mean() -> None:
    sections = {"Chat": ["chat", "chat-hard"], "Code": ["code"], "Absent": ["maths"]}
    found = subset_figures(CASES, REWARDS, grouping="source", sections=sections)
    assert {name: part.value for name, part in found.sections.items()} == {
        "Chat": pytest.approx(2 / 3),
        "Code": pytest.approx(3 / 4),
    }
    assert found.average.value == pytest.approx((2 / 3 + 3 / 4) / 2)
    assert found.average.prompts == 5
    assert found.average.interval is not None


def test_a_case_of_several_tags_is_in_several_subsets_and_untagged_ones_in_none() -> None:
    found = subset_figures(CASES, REWARDS, grouping="tag")
    pairs = {name: one.accuracy.pairs for name, one in found.subsets.items()}
    assert pairs == {"easy": 4, "hard": 2, "short": 3}


def test_an_average_over_a_subset_of_one_prompt_has_no_interval() -> None:
    found = subset_figures(CASES[2:], REWARDS[2:], grouping="source")
    assert found.average.interval is None


def test_without_pairs_or_tags_there_is_no_subset() -> None:
    assert subset_figures([CASES[-1]], [REWARDS[-1]], grouping="source") is None
    assert subset_figures([example("a")], [(1.0, 0.0)], grouping="tag") is None


def test_an_average_of_perfect_subsets_is_as_unsure_as_they_are() -> None:
    cases = [example(name, source=source) for name, source in zip("abcde", "xxyyy", strict=True)]
    found = subset_figures(cases, [(1.0, 0.0)] * 5, grouping="source")
    parts = [one.by_prompt.interval for one in found.subsets.values()]
    assert found.average.value == found.average.interval.high == 1.0
    assert found.average.interval.low == pytest.approx((parts[0].low + parts[1].low) / 2)
    assert found.average.interval.low < 0.5
