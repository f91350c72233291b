from rm_core.types import Message
from tests.training.evaluation.made_up_examples import example, steps
from training.data.examples import Pair, example_of, num_ties, prompt_key, strict_pairs
from training.data.margins import MARGINS
from training.data.records import PreferenceRecord, StepLabel


def record(ranking: tuple[int, ...], **fields: object) -> PreferenceRecord:
    responses = tuple(f"r{i}" for i in range(len(ranking)))
    return PreferenceRecord("p", responses, ranking, "id", **fields)  # type: ignore[arg-type]


def test_a_ranking_expands_to_every_strictly_ordered_pair_and_its_ties() -> None:
    example = example_of(record((1, 0, 1, 2)), MARGINS["small"])
    strict = {(pair.chosen, pair.rejected) for pair in example.pairs}
    assert strict == {(1, 0), (1, 2), (1, 3), (0, 3), (2, 3)}
    assert num_ties(example) == 1
    assert all(pair.margin == 0 for pair in example.pairs)


def test_a_grade_gives_its_margin_and_an_explicit_margin_wins() -> None:
    graded = record((1, 0), strength="better")
    assert list(strict_pairs(graded, MARGINS["large"])) == [Pair(1, 0, 2.0, "better")]
    explicit = record((1, 0), strength="better", margin=0.25)
    assert list(strict_pairs(explicit, MARGINS["large"])) == [Pair(1, 0, 0.25, "better")]


def test_a_grade_says_nothing_about_the_pairs_of_a_longer_ranking() -> None:
    pairs = strict_pairs(record((0, 1, 2), strength="better"), MARGINS["large"])
    assert {(pair.margin, pair.strength) for pair in pairs} == {(0.0, None)}


def test_prompts_that_differ_in_case_and_space_alone_are_the_same_prompt() -> None:
    assert prompt_key("Why  me?\n") == prompt_key("why me?")
    assert prompt_key("Why me?") == prompt_key((Message("user", "Why me?"),))
    assert prompt_key("Why me?") != prompt_key((Message("system", "Why me?"),))
    assert prompt_key("Why me?") != prompt_key("Why you?")


def test_an_example_of_some_responses_keeps_what_is_known_of_them() -> None:
    whole = example(
        "a",
        ("x", "y", "z"),
        ratings=(3.0, None, 1.0),
        is_safe=(True, False, None),
        steps=((), (), steps(1, 0)),
        token_ids=((1,), (2,), (3,)),
    )
    part = whole.only([0, 2])
    assert part.responses == ("x", "z")
    assert part.pairs == (Pair(0, 1),)
    assert (part.ranking, part.ratings, part.is_safe) == ((0, 2), (3.0, 1.0), (True, None))
    assert part.steps == ((), (StepLabel(4, 1), StepLabel(8, 0)))
    assert part.token_ids == ((1,), (3,))
    assert whole.only([0, 1, 2]) is whole
