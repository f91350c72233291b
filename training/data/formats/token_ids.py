"""Pairs that came as token ids: TRL's tokenised columns, now and before.

The ids are read exactly as they stand (`PreferenceRecord.token_ids`); their text is for people,
baselines and the search for duplicates.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from training.data.formats.fields import list_of
from training.data.formats.options import FormatOptions
from training.data.records import PreferenceRecord, margin_of
from training.errors import DataError, MalformedRow, UnusableRow

_COLUMNS: tuple[tuple[tuple[str, str], tuple[str, str]], ...] = (
    (("chosen_ids", "rejected_ids"), ("chosen_mask", "rejected_mask")),
    (
        ("chosen_input_ids", "rejected_input_ids"),
        ("chosen_attention_mask", "rejected_attention_mask"),
    ),
    (
        ("input_ids_chosen", "input_ids_rejected"),
        ("attention_mask_chosen", "attention_mask_rejected"),
    ),
    (("input_ids_j", "input_ids_k"), ("attention_mask_j", "attention_mask_k")),
)
"""(chosen, rejected) columns of ids, and of the masks whose zeros are padding."""


class TokenIdsFormat:
    """{"chosen_ids", "rejected_ids"} and the names that TRL had for them before."""

    name = "token-ids"
    keys = "chosen_ids, rejected_ids (or chosen_input_ids …, input_ids_chosen …, input_ids_j/_k)"

    def __init__(self, options: FormatOptions | None = None) -> None:
        self._decode = (options or FormatOptions()).decode

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether both sides stand there as ids."""
        return any(set(columns) <= row.keys() for columns, _ in _COLUMNS)

    def parse(self, row: Mapping[str, Any], *, id_: str, source: str) -> PreferenceRecord:
        """The row as a record with ids; what both sides begin with is the prompt."""
        if self._decode is None:
            raise DataError(
                "rows of token ids need the tokenizer that made them; name its model with --base"
            )
        columns, masks = next(pair for pair in _COLUMNS if set(pair[0]) <= row.keys())
        before = _ids(row, "prompt_ids", "prompt_mask") if "prompt_ids" in row else ()
        sides = tuple(
            before + _ids(row, column, mask) for column, mask in zip(columns, masks, strict=True)
        )
        border = common_ids(sides)
        if not border:
            raise UnusableRow("prompts_differ")
        return PreferenceRecord(
            prompt=self._decode(sides[0][:border]),
            responses=tuple(self._decode(side[border:]) for side in sides),
            ranking=(0, 1),
            id=id_,
            margin=margin_of(row.get("margin")),
            source=source,
            token_ids=sides,
        )


def common_ids(texts: Sequence[Sequence[int]]) -> int:
    """How many ids all texts begin with, leaving each at least one of its own.

    Args:
        texts: token ids of whole texts, none empty.
    """
    most = min(len(ids) for ids in texts) - 1
    first = texts[0]
    return next(
        (at for at in range(most) if any(ids[at] != first[at] for ids in texts)), max(most, 0)
    )


def _ids(row: Mapping[str, Any], column: str, mask_column: str) -> tuple[int, ...]:
    ids = list_of(row, column)
    if not ids or not all(type(i) is int and i >= 0 for i in ids):
        raise MalformedRow(f"`{column}` must be a list of token ids, at least one")
    if row.get(mask_column) is None:
        return tuple(ids)
    mask = list_of(row, mask_column)
    if len(mask) != len(ids) or not all(bit in {0, 1} for bit in mask) or not any(mask):
        raise MalformedRow(f"`{mask_column}` must hold 0 or 1 for each of `{column}`")
    return tuple(i for i, bit in zip(ids, mask, strict=True) if bit)
