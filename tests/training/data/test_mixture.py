"""Several sources as one training set."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rm_core.errors import ConfigurationError
from tests.training.samples import write_jsonl
from training.data.examples import prompt_key
from training.data.formats.reading import ReadRecords
from training.data.formats.writer import parsed_source
from training.data.mixture import Recipe, read_mixture
from training.errors import DataError

FRACTION = 0.25


def source(folder: Path, name: str, count: int, **further: Any) -> str:
    """A file of so many records of its own prompts, as `--data` would name it."""
    rows = [
        {
            "prompt": f"{name} {number}",
            "responses": ["yes", "no"],
            "ranking": [0, 1],
            "source": name,
            **further,
        }
        for number in range(count)
    ]
    return str(write_jsonl(folder / f"{name}.jsonl", rows))


def sources(folder: Path, count: int = 100, **settings: str) -> list[str]:
    """Files of so many records each, by their names, with what `--data` says of them."""
    return [f"{source(folder, name, count)},{said}" for name, said in settings.items()]


def mixed(sources: list[str], recipe: Recipe | None = None, seed: int = 0) -> ReadRecords:
    return read_mixture(
        [parsed_source(text) for text in sources],
        recipe=recipe,
        heldout_fraction=FRACTION,
        seed=seed,
    )


def sizes(read: ReadRecords, side: str) -> Counter[str]:
    return Counter(record.source for record in read.records if record.split == side)


def test_without_weights_everything_is_taken_as_it_is(tmp_path: Path) -> None:
    read = mixed([source(tmp_path, "a", 20), source(tmp_path, "b", 10)])

    assert len(read.records) == 30
    assert read.mixture is None
    assert {record.split for record in read.records} == {None}


def test_weights_are_shares_of_the_largest_mixture_that_repeats_nothing(tmp_path: Path) -> None:
    read = mixed(sources(tmp_path, 200, a="weight=1", b="weight=3"))

    train = sizes(read, "train")
    assert read.mixture is not None
    scarce = read.mixture.parts[1]
    assert train["b"] == scarce.drawn == scarce.available  # nothing of the scarce one is wasted
    assert train["a"] == pytest.approx(train["b"] / 3, abs=1)
    assert [part.wanted for part in read.mixture.parts] == [0.25, 0.75]
    assert sum(part.share for part in read.mixture.parts) == pytest.approx(1)


def test_the_held_out_side_is_the_same_with_every_mixture(tmp_path: Path) -> None:
    a, b = source(tmp_path, "a", 200), source(tmp_path, "b", 200)

    heldout = [
        {
            r.id
            for r in mixed([f"{a},weight={weight}", f"{b},weight=1"]).records
            if r.split != "train"
        }
        for weight in (0.1, 1, 20)
    ]

    assert heldout[0] == heldout[1] == heldout[2]
    assert 60 < len(heldout[0]) < 140


def test_a_draw_is_the_same_each_time_and_another_with_another_seed(tmp_path: Path) -> None:
    texts = sources(tmp_path, a="weight=1", b="weight=5")

    first, again, other = (mixed(texts, seed=seed) for seed in (3, 3, 4))

    assert first == again
    assert {r.id for r in first.records} != {r.id for r in other.records}


def test_rows_that_were_not_drawn_still_count_as_read(tmp_path: Path) -> None:
    read = mixed(sources(tmp_path, a="weight=1", b="weight=9"))

    assert read.num_rows == 200
    assert read.num_undrawn == 200 - len(read.records) > 0


def test_the_helpfulness_mix_has_as_much_of_the_rest_as_of_ones_own(tmp_path: Path) -> None:
    texts = [
        *sources(tmp_path, 40, own="kind=own_helpfulness"),
        *sources(tmp_path, 120, safety="kind=own_safety"),
        *sources(tmp_path, 120, open="kind=open_helpfulness", harmless="kind=open_safety"),
    ]

    read = mixed(texts, "llama2_helpfulness")

    train = sizes(read, "train")
    rest = train["safety"] + train["open"] + train["harmless"]
    assert read.mixture is not None
    assert train["own"] == read.mixture.parts[0].available == rest
    # Uniform over the rest: each of three equal sources gives about a third.
    assert all(0 < train[name] < 0.7 * rest for name in ("safety", "open", "harmless"))


def test_the_safety_mix_is_ninety_to_ten(tmp_path: Path) -> None:
    texts = [
        *sources(tmp_path, 150, safety="kind=own_safety"),
        *sources(tmp_path, 90, harmless="kind=open_safety"),
        *sources(tmp_path, 60, own="kind=own_helpfulness", open="kind=open_helpfulness"),
    ]

    read = mixed(texts, "llama2_safety")

    train = sizes(read, "train")
    safety = train["safety"] + train["harmless"]
    helpfulness = train["own"] + train["open"]
    assert read.mixture is not None
    assert safety == read.mixture.parts[0].available
    assert helpfulness == round(safety / 9)
    assert [part.name for part in read.mixture.parts] == ["safety", "the rest"]


def test_a_rest_that_is_too_small_is_taken_whole_and_its_share_told(tmp_path: Path) -> None:
    texts = [
        source(tmp_path, "own", 100) + ",kind=own_helpfulness",
        source(tmp_path, "open", 10) + ",kind=open_helpfulness",
    ]

    mixture = mixed(texts, "llama2_helpfulness").mixture

    assert mixture is not None
    rest = mixture.parts[1]
    assert rest.drawn == rest.available
    assert rest.share < rest.wanted == 0.5


def test_training_records_of_held_out_prompts_are_not_drawn_and_stay_to_be_named(
    tmp_path: Path,
) -> None:
    a, b = source(tmp_path, "a", 40), source(tmp_path, "b", 40)
    again = write_jsonl(
        tmp_path / "again.jsonl",
        [
            {
                "prompt": f"a {number}",
                "responses": ["so", "la"],
                "ranking": [0, 1],
                "split": "train",
                "source": "again",
            }
            for number in range(40)
        ],
    )

    read = mixed([f"{a},weight=1", f"{b},weight=1", f"{again},weight=1"])

    heldout = {prompt_key(r.prompt) for r in read.records if r.split == "heldout"}
    leaked = [r for r in read.records if r.split == "train" and prompt_key(r.prompt) in heldout]
    assert read.mixture is not None
    assert leaked
    assert {record.source for record in leaked} == {"again"}
    assert sizes(read, "train")["again"] == read.mixture.parts[2].drawn + len(leaked)


def test_a_source_can_be_put_on_one_side_whole(tmp_path: Path) -> None:
    read = mixed(sources(tmp_path, 10, a="split=train", b="split=heldout"))

    assert sizes(read, "train") == {"a": 10}
    assert sizes(read, "heldout") == {"b": 10}


def test_files_of_one_name_keep_their_rows_apart(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()

    read = mixed([source(tmp_path / folder, "same", 3) for folder in ("one", "two")])

    assert len({record.id for record in read.records}) == 6


@pytest.mark.parametrize(
    ("suffixes", "recipe", "message"),
    [
        (["weight=1", ""], None, "no `weight`"),
        (["weight=0", "weight=1"], None, "greater than 0"),
        (["weight=many", "weight=1"], None, "greater than 0"),
        (["kind=own", "kind=own_safety"], None, "kind"),
        (["split=both", ""], None, "split"),
        (["kind=own_safety", ""], "llama2_safety", "`kind`"),
        (["kind=own_safety", "kind=open_safety"], "llama2_helpfulness", "own helpfulness"),
        (["kind=own_safety,weight=1", "kind=own_safety"], "llama2_safety", "leave `weight` out"),
        (["weight=1,weight=2", ""], None, "twice"),
    ],
)
def test_a_mixture_that_cannot_be_meant_is_refused(
    tmp_path: Path, suffixes: list[str], recipe: Recipe | None, message: str
) -> None:
    paths = [source(tmp_path, name, 4) for name in ("a", "b")]
    texts = [f"{p},{s}" if s else p for p, s in zip(paths, suffixes, strict=True)]

    with pytest.raises(ConfigurationError, match=message):
        mixed(texts, recipe)


def test_a_recipe_whose_main_part_is_all_held_out_is_an_error(tmp_path: Path) -> None:
    texts = sources(tmp_path, 4, a="kind=own_safety,split=heldout", b="kind=open_helpfulness")

    with pytest.raises(DataError, match="safety"):
        mixed(texts, "llama2_safety")
