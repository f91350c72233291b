"""A base model's tokenizer as the reader of data that came as token ids; loaded when needed."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from training.errors import MalformedRow
from training.modeling.reward_model import tokenizer_of


class BaseDecoder:
    """Token ids to text, special tokens written out.

    Args:
        base: directory or hub name of the model whose tokenizer made the ids.
    """

    def __init__(self, base: str) -> None:
        self._base = base

    @cached_property
    def _tokenizer(self) -> Any:
        return tokenizer_of(self._base)

    def __call__(self, ids: Sequence[int]) -> str:
        """The text of token ids."""
        if max(ids) >= len(self._tokenizer):
            raise MalformedRow(
                f"a token id is not one of the {len(self._tokenizer)} of {self._base}'s tokenizer"
            )
        text: str = self._tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text
