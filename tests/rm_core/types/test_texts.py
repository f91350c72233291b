"""What travels between the parts: prices, groups and warnings of items."""

import pytest

from rm_core.types import (
    Dialogue,
    Encoded,
    EncodedItem,
    Message,
    RenderedText,
    RewardInput,
    TokenIds,
)

LONG = "word " * 200
CHAT = (Message("user", "Why?"),)


@pytest.mark.parametrize(
    ("left", "right", "together"),
    [
        (Dialogue("p", "a"), Dialogue("p", "b"), True),
        (Dialogue("p", "a"), Dialogue("q", "a"), False),
        (Dialogue(CHAT, "a"), Dialogue((Message("user", "Why?"),), "b", allow_empty=True), True),
        (Dialogue(CHAT, "a"), Dialogue((Message("system", "Why?"),), "a"), False),
        (RenderedText("prompt: a", 8), RenderedText("prompt: b", 8), True),
        (RenderedText("prompt a", 8), RenderedText("prompt b", 8), False),
        (RenderedText(LONG + "a"), RenderedText(LONG + "b"), True),
        (RenderedText("one text"), RenderedText("another"), False),
        (TokenIds((*range(100), 1)), TokenIds((*range(100), 2)), True),
        (TokenIds((1, 2, 3)), TokenIds((1, 2, 4)), False),
    ],
)
def test_inputs_that_share_a_prompt_are_of_one_group(
    left: RewardInput, right: RewardInput, together: bool
) -> None:
    assert (left.group_key == right.group_key) == together
    assert (hash(left.group_key) == hash(right.group_key)) == together


def test_an_item_costs_what_the_model_that_reads_most_reads() -> None:
    item = EncodedItem({"safety": Encoded((1, 2, 3), 2), "helpfulness": Encoded((1, 2), 1)})

    assert item.num_tokens == 3


def test_a_warning_of_both_models_is_told_once_in_order_of_appearance() -> None:
    item = EncodedItem(
        {
            "safety": Encoded((1,), 0, None, ("truncated", "missing_eos")),
            "helpfulness": Encoded((1,), 0, None, ("double_bos", "truncated")),
        }
    )

    assert item.warnings == ("truncated", "missing_eos", "double_bos")
