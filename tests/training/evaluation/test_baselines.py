import pytest

from training.data.examples import Example, Pair
from training.evaluation.baselines import bag_of_words, baseline_accuracies, baseline_scorers
from training.evaluation.scorer import Candidate, Reading


def example(number: int, chosen: str, rejected: str) -> Example:
    # The better response changes its place, so that position tells nothing.
    first = number % 2
    responses = (rejected, chosen) if first else (chosen, rejected)
    key = str(number)
    return Example(key, key, "p", responses, (Pair(first, 1 - first),))


def test_length_rules_mirror_each_other_and_count_ties_half() -> None:
    heldout = [
        example(0, "long answer", "short"),
        example(1, "tiny", "rather long"),
        example(2, "same", "size"),
        example(3, "longer one", "short"),
    ]
    figures = baseline_accuracies(heldout, heldout)
    assert figures["longer_wins"].value == pytest.approx(2.5 / 4)
    assert figures["shorter_wins"].value == pytest.approx(1.5 / 4)
    assert figures["longer_wins"].ties == figures["shorter_wins"].ties == 1


def test_bag_of_words_learns_a_word_and_nothing_of_held_out_words() -> None:
    train = [example(i, f"please take item {i}", f"never take item {i}") for i in range(20)]
    learned = [example(i, "please do", "never do") for i in range(6)]
    unseen = [example(i, "kindly", "rudely") for i in range(6)]
    assert baseline_accuracies(train, learned)["bag_of_words"].value == 1.0
    unknown = baseline_accuracies(train, unseen)["bag_of_words"]
    assert (unknown.value, unknown.ties) == (0.5, 6)


def test_bag_of_words_without_a_repeated_word_guesses() -> None:
    train = [example(0, "alpha", "beta")]
    assert baseline_accuracies(train, train)["bag_of_words"].value == 0.5


def test_as_scorers_they_read_responses_and_steps_alone() -> None:
    longer = next(one for one in baseline_scorers() if one.name == "longer_wins")
    told: list[int] = []
    readings = longer.score(
        [Candidate("a long prompt", "four"), Candidate("p", "ab cdef", step_ends=(2, 7))],
        told.append,
    )
    assert readings == [Reading(4.0), Reading(7.0, (2.0, 5.0))]
    assert told == [2]
    assert not longer.info.has_scores


def test_without_training_pairs_there_is_no_bag_of_words() -> None:
    names = [one.name for one in baseline_scorers()]
    assert names == ["longer_wins", "shorter_wins", "constant"]
    train = [example(i, f"please take item {i}", f"never take item {i}") for i in range(4)]
    assert "bag_of_words" in [one.name for one in baseline_scorers(train)]


def test_the_bag_of_words_scores_nothing_when_nothing_is_asked() -> None:
    train = [example(i, f"please take item {i}", f"never take item {i}") for i in range(20)]
    reward_of = bag_of_words(train)
    assert reward_of([]).shape == (0,)
    kind, rude, unknown = reward_of(["please", "never", "elsewhere"])
    assert kind > 0 > rude
    assert unknown == 0.0


def test_held_out_labels_without_pairs_have_no_baseline() -> None:
    alone = Example("i", "k", "p", ("x",), is_safe=(True,))
    assert baseline_accuracies([alone], [alone]) == {}
