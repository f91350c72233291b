"""Which ids a model knows, and which of them fills a batch up."""

from typing import Any

import pytest

from rm_core.engine.trunk.vocabulary import (
    embedding_rows,
    end_token,
    filler_token,
    special_tokens,
    vocabulary_size,
)
from tests.models import BOS, EOS, PAD, VOCABULARY, make_model


def test_the_pad_token_fills_where_the_model_knows_it() -> None:
    model = make_model("llama")

    assert filler_token(model) == PAD
    assert embedding_rows(model) == vocabulary_size(model) == VOCABULARY
    assert special_tokens(model) == {0, BOS, EOS, PAD}


@pytest.mark.parametrize("pad", [None, -1, VOCABULARY, VOCABULARY + 5, EOS])
def test_another_id_fills_where_it_does_not_or_where_texts_end_with_it(pad: int | None) -> None:
    model = make_model("llama")
    model.config.pad_token_id = pad

    assert 0 <= filler_token(model) < VOCABULARY
    assert filler_token(model) != EOS


@pytest.mark.parametrize(
    ("named", "found"),
    [(EOS, EOS), ([EOS, BOS], EOS), ([VOCABULARY, BOS], BOS), (None, None), (VOCABULARY, None)],
)
def test_the_end_token_is_the_first_named_one_that_the_model_knows(
    named: Any, found: int | None
) -> None:
    model = make_model("llama")
    model.config.eos_token_id = named

    assert end_token(model) == found
