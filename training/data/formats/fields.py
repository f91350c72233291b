"""Typed values of a row; any other is a `MalformedRow` that names the key, never the value."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rm_core.types import Message
from training.data.records import (
    PreferenceRecord,
    is_number,
    kind_of,
    margin_of,
    messages_of,
    text_of,
    wrong_kind,
)
from training.errors import MalformedRow
from training.types import Strength

STRENGTH_OF_STEPS: Mapping[int, Strength] = {
    3: "significantly_better",
    2: "better",
    1: "slightly_better",
}
"""HelpSteer's preference strengths as LLaMA-2's grades: much better, better, slightly better."""


def number_of(row: Mapping[str, Any], key: str) -> float:
    """A required finite number of a row."""
    value = row.get(key)
    if not is_number(value) or not math.isfinite(value):
        raise wrong_kind(row, key, "a finite number")
    return float(value)


def whole_of(row: Mapping[str, Any], key: str, allowed: Sequence[int]) -> int:
    """A required whole number of a row, one of those allowed; 2.0 is one too."""
    value = number_of(row, key)
    if value not in allowed:
        raise MalformedRow(f"`{key}` must be one of {', '.join(map(str, allowed))}")
    return int(value)


def flag_of(row: Mapping[str, Any], key: str) -> bool:
    """A required true or false of a row; 1 and 0 are accepted, as tables store them."""
    value = row.get(key)
    if isinstance(value, bool):
        return value
    if is_number(value) and value in {0, 1}:
        return bool(value)
    raise wrong_kind(row, key, "true or false")


def list_of(row: Mapping[str, Any], key: str) -> list[Any]:
    """A required list of a row."""
    value = row.get(key)
    if not isinstance(value, list):
        raise wrong_kind(row, key, "a list")
    return value


def object_of(value: Any, key: str) -> Mapping[str, Any]:
    """A JSON object that stands at `key`."""
    if not isinstance(value, dict):
        raise MalformedRow(f"`{key}` must be an object, found {kind_of(value)}")
    return value


def prompt_of(row: Mapping[str, Any], key: str) -> str | tuple[Message, ...]:
    """A prompt that is a text or a list of messages."""
    value = row.get(key)
    return messages_of(value, key) if isinstance(value, list) else text_of(row, key)


def pair_record(
    row: Mapping[str, Any],
    prompt: str | tuple[Message, ...],
    chosen: str,
    rejected: str,
    id_: str,
    source: str,
) -> PreferenceRecord:
    """A record of a chosen and a rejected response, with the row's `margin` where it has one."""
    return PreferenceRecord(
        prompt=prompt,
        responses=(chosen, rejected),
        ranking=(0, 1),
        id=id_,
        margin=margin_of(row.get("margin")),
        source=source,
    )
