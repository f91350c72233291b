import pytest

from training.baselines import baseline_accuracies
from training.comparisons import Comparison, Pair


def comparison(number: int, chosen: str, rejected: str) -> Comparison:
    # The better response changes its place, so that position tells nothing.
    first = number % 2
    responses = (rejected, chosen) if first else (chosen, rejected)
    key = str(number)
    return Comparison(key, key, "p", responses, (), (Pair(first, 1 - first),), (None, None))


def test_length_rules_mirror_each_other_and_count_ties_half() -> None:
    heldout = [
        comparison(0, "long answer", "short"),
        comparison(1, "tiny", "rather long"),
        comparison(2, "same", "size"),
        comparison(3, "longer one", "short"),
    ]
    figures = baseline_accuracies(heldout, heldout)
    assert figures["longer_wins"].value == pytest.approx(2.5 / 4)
    assert figures["shorter_wins"].value == pytest.approx(1.5 / 4)
    assert figures["longer_wins"].ties == figures["shorter_wins"].ties == 1


def test_bag_of_words_learns_a_word_and_nothing_of_held_out_words() -> None:
    train = [comparison(i, f"please take item {i}", f"never take item {i}") for i in range(20)]
    learned = [comparison(i, "please do", "never do") for i in range(6)]
    unseen = [comparison(i, "kindly", "rudely") for i in range(6)]
    assert baseline_accuracies(train, learned)["bag_of_words"].value == 1.0
    unknown = baseline_accuracies(train, unseen)["bag_of_words"]
    assert (unknown.value, unknown.ties) == (0.5, 6)


def test_bag_of_words_without_a_repeated_word_guesses() -> None:
    train = [comparison(0, "alpha", "beta")]
    assert baseline_accuracies(train, train)["bag_of_words"].value == 0.5
