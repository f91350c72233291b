"""Pairs that came as token ids."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.data.formats.golden import read_rows, record
from training.data.formats.options import FormatOptions
from training.data.formats.token_ids import TokenIdsFormat, common_ids
from training.errors import DataError, MalformedRow, UnusableRow

WORDS = ["<s>", "</s>", "Is", " ice", " cold", "?", " Yes", " No", "."]


def decode(ids: Sequence[int]) -> str:
    return "".join(WORDS[i] for i in ids)


OPTIONS = FormatOptions(decode=decode)
CHOSEN, REJECTED = [0, 2, 3, 4, 5, 6, 8, 1], [0, 2, 3, 4, 5, 7, 1]
EXPECTED = {
    "prompt": "<s>Is ice cold?",
    "responses": (" Yes.</s>", " No</s>"),
    "ranking": (0, 1),
    "token_ids": (tuple(CHOSEN), tuple(REJECTED)),
}


@pytest.mark.parametrize(
    "row",
    [
        {"chosen_ids": CHOSEN, "rejected_ids": REJECTED},
        {"chosen_input_ids": CHOSEN, "rejected_input_ids": REJECTED},
        {"input_ids_chosen": CHOSEN, "input_ids_rejected": REJECTED},
        {"input_ids_j": CHOSEN, "input_ids_k": REJECTED},
        {
            "input_ids_j": [1, *CHOSEN],
            "attention_mask_j": [0, *[1] * 8],
            "input_ids_k": [*REJECTED, 1, 1],
            "attention_mask_k": [*[1] * 7, 0, 0],
        },
        {"prompt_ids": CHOSEN[:5], "chosen_ids": CHOSEN[5:], "rejected_ids": REJECTED[5:]},
    ],
    ids=["now", "legacy", "older", "j and k", "padded", "prompt apart"],
)
def test_every_name_of_the_columns_gives_the_same_record(
    tmp_path: Path, row: dict[str, list[int]]
) -> None:
    assert read_rows(tmp_path, [row], OPTIONS).records == (record(1, **EXPECTED),)


def test_a_margin_comes_along(tmp_path: Path) -> None:
    row = {"chosen_ids": CHOSEN, "rejected_ids": REJECTED, "margin": 0.5}

    assert read_rows(tmp_path, [row], OPTIONS).records[0].margin == 0.5


def test_ids_without_a_tokenizer_are_an_error_that_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--base"):
        read_rows(tmp_path, [{"chosen_ids": CHOSEN, "rejected_ids": REJECTED}])


@pytest.mark.parametrize(
    "row",
    [
        {"chosen_ids": [], "rejected_ids": [1]},
        {"chosen_ids": ["a"], "rejected_ids": [1]},
        {"chosen_ids": [-1], "rejected_ids": [1]},
        {"chosen_ids": "1 2", "rejected_ids": [1]},
        {"input_ids_j": [1], "attention_mask_j": [0], "input_ids_k": [1]},
        {"input_ids_j": [1], "attention_mask_j": [1, 1], "input_ids_k": [1]},
    ],
)
def test_what_is_no_list_of_ids_is_refused(row: dict[str, object]) -> None:
    with pytest.raises(MalformedRow):
        TokenIdsFormat(OPTIONS).parse(row, id_="", source="")


def test_sides_without_a_common_beginning_have_no_prompt() -> None:
    with pytest.raises(UnusableRow, match="prompts_differ"):
        TokenIdsFormat(OPTIONS).parse(
            {"chosen_ids": [2, 3], "rejected_ids": [3, 2]}, id_="", source=""
        )


@given(
    st.lists(st.integers(0, 3), max_size=6),
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6), min_size=1, max_size=4),
)
def test_the_border_is_the_longest_beginning_that_leaves_each_text_a_token(
    beginning: list[int], ends: list[list[int]]
) -> None:
    texts = [beginning + end for end in ends]

    border = common_ids(texts)

    assert border >= len(beginning)
    assert all(text[:border] == texts[0][:border] and len(text) > border for text in texts)
    longer = [text[: border + 1] for text in texts]
    assert any(text != longer[0] for text in longer) or min(map(len, texts)) == border + 1
