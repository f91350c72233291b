from rm_core.types import Message
from training.data.examples import Pair, ordered_pairs, prompt_key
from training.data.margins import MARGINS
from training.data.records import PreferenceRecord


def record(ranking: tuple[int, ...], **fields: object) -> PreferenceRecord:
    responses = tuple(f"r{i}" for i in range(len(ranking)))
    return PreferenceRecord("p", responses, ranking, "id", **fields)  # type: ignore[arg-type]


def test_a_ranking_expands_to_every_strictly_ordered_pair_and_its_ties() -> None:
    pairs = list(ordered_pairs(record((1, 0, 1, 2)), MARGINS["small"]))
    strict = {(pair.chosen, pair.rejected) for pair in pairs if pair}
    assert strict == {(1, 0), (1, 2), (1, 3), (0, 3), (2, 3)}
    assert pairs.count(None) == 1
    assert all(pair.margin == 0 for pair in pairs if pair)


def test_a_grade_gives_its_margin_and_an_explicit_margin_wins() -> None:
    graded = record((1, 0), strength="better")
    assert list(ordered_pairs(graded, MARGINS["large"])) == [Pair(1, 0, 2.0, "better")]
    explicit = record((1, 0), strength="better", margin=0.25)
    assert list(ordered_pairs(explicit, MARGINS["large"])) == [Pair(1, 0, 0.25, "better")]


def test_a_grade_says_nothing_about_the_pairs_of_a_longer_ranking() -> None:
    pairs = ordered_pairs(record((0, 1, 2), strength="better"), MARGINS["large"])
    assert {(pair.margin, pair.strength) for pair in pairs if pair} == {(0.0, None)}


def test_prompts_that_differ_in_case_and_space_alone_are_the_same_prompt() -> None:
    assert prompt_key("Why  me?\n") == prompt_key("why me?")
    assert prompt_key("Why me?") == prompt_key((Message("user", "Why me?"),))
    assert prompt_key("Why me?") != prompt_key((Message("system", "Why me?"),))
    assert prompt_key("Why me?") != prompt_key("Why you?")
