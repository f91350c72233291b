"""Rows whose columns the user names, as OpenRLHF's `prompt_key`, `chosen_key` and `rejected_key`.

Source: github.com/OpenRLHF/OpenRLHF, `RewardDataset`: with a chat template prompt and sides are
lists of messages, without one the template's `{}` takes the prompt.
"""

from collections.abc import Mapping
from typing import Any

from training.data.formats.columns import COLUMN_FORMATS
from training.data.formats.fields import pair_record
from training.data.formats.hh_rlhf import HhRlhfFormat
from training.data.formats.options import FormatOptions
from training.data.formats.trl import TrlConversationalFormat, TrlImplicitFormat
from training.data.records import PreferenceRecord, text_of
from training.errors import MalformedRow

_SHAPES = (
    HhRlhfFormat(),
    TrlConversationalFormat(),
    COLUMN_FORMATS["trl-explicit"],
    TrlImplicitFormat(),
)


class OpenRlhfFormat:
    """Any columns, under the names that the options give."""

    name = "openrlhf"
    keys = "the columns that chosen_key, rejected_key and prompt_key name"

    def __init__(self, options: FormatOptions | None = None) -> None:
        options = options or FormatOptions()
        self._named = options.names_keys
        self._chosen = options.chosen_key or "chosen"
        self._rejected = options.rejected_key or "rejected"
        self._prompt = options.prompt_key
        self._template = options.input_template

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether columns were named and a row has them."""
        return self._named and {self._chosen, self._rejected} <= row.keys()

    def parse(self, row: Mapping[str, Any], *, id_: str, source: str) -> PreferenceRecord:
        """The row as a record, read by the shape of the named columns' values."""
        wanted = {"chosen": self._chosen, "rejected": self._rejected}
        if self._prompt:
            wanted["prompt"] = self._prompt
        absent = [column for column in wanted.values() if row.get(column) is None]
        if absent:
            raise MalformedRow(f"no column `{absent[0]}`, which the options name")
        renamed = {key: row[column] for key, column in wanted.items()}
        renamed["margin"] = row.get("margin")
        if self._template and isinstance(renamed.get("prompt"), str):
            prompt = self._template.replace("{}", renamed["prompt"])
            chosen, rejected = text_of(renamed, "chosen"), text_of(renamed, "rejected")
            return pair_record(renamed, prompt, chosen, rejected, id_, source)
        for shape in _SHAPES:
            if shape.matches(renamed):
                return shape.parse(renamed, id_=id_, source=source)
        raise MalformedRow(
            f"`{self._chosen}` and `{self._rejected}` must be both texts or both lists of messages"
        )
