import pytest

from loadtest.bench.arrivals import SHAPES, arrival, shapes_named
from loadtest.bench.strategies import in_order, in_waves
from loadtest.errors import LoadTestError
from loadtest.settings import BenchSettings
from rm_core.engine import load_engine

OPTIONS = BenchSettings(groups=2, responses=3, prompt_tokens=24, texts=40)


def test_no_round_or_shape_begins_a_text_as_another_does(tokenizer):
    arrived = [
        arrival(shape, tokenizer, OPTIONS, number=number) for shape in SHAPES for number in range(2)
    ]
    beginnings = [{ids[:16] for ids in one.ids} for one in arrived]

    # An engine that had seen a beginning would be measured as if it were fast.
    assert len(set().union(*beginnings)) == sum(map(len, beginnings))
    assert arrived[0] == arrival("grpo", tokenizer, OPTIONS, number=0)


@pytest.mark.parametrize(
    ("shape", "waves"),
    [
        ("grpo", [6]),
        ("singles", [32, 8]),
        ("one", [1] * 40),
        ("turns", [8, 4]),
        ("again", [6]),
        ("staggered", [1] * 6),
    ],
)
def test_texts_come_in_waves_of_those_that_are_there_together(tokenizer, shape, waves):
    arrived = arrival(shape, tokenizer, OPTIONS, number=0)

    assert list(map(len, arrived.waves)) == waves
    assert [index for wave in arrived.waves for index in wave] == list(range(len(arrived.texts)))


def test_other_words_have_the_same_lengths(tokenizer):
    one, other = (
        arrival("staggered", tokenizer, OPTIONS, number=0, words=words) for words in (0, 1)
    )

    assert sorted(map(len, one.ids)) == sorted(map(len, other.ids))
    assert not set(one.ids) & set(other.ids)


def test_the_engine_reads_the_ids_that_transformers_does(tokenizer, model):
    engine = load_engine({"safety": str(model)}, device="cpu")
    arrived = arrival("turns", tokenizer, OPTIONS, number=0)

    items = arrived.items(engine)

    assert [item.by_model["safety"].input_ids for item in items] == list(arrived.ids)


def test_padded_batches_never_cross_a_wave():
    assert in_waves([(0, 1, 2), (3, 4)], lambda wave: in_order(len(wave), 2)) == [
        [0, 1],
        [2],
        [3, 4],
    ]


def test_all_are_all_and_an_unknown_shape_is_answered_with_the_known_ones():
    assert shapes_named("all") == SHAPES
    assert shapes_named("one") == ("one",)
    with pytest.raises(LoadTestError, match="grpo, mixed"):
        shapes_named("square")
