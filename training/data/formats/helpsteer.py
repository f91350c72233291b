"""NVIDIA's HelpSteer2: ratings of single responses.

Source: huggingface.co/datasets/nvidia/HelpSteer2; arXiv 2410.01257.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from training.data.formats.fields import number_of
from training.data.formats.nemo import marked_prompt
from training.data.formats.options import FormatOptions
from training.data.formats.splits import split_of
from training.data.records import PreferenceRecord, ranking_from_scores, text_of
from training.errors import MalformedRow

ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")


class HelpSteer2Format:
    """{"prompt", "response", "helpfulness", …}: one rated response a row, neighbours together."""

    name = "helpsteer2"
    keys = "prompt, response, helpfulness, correctness, coherence, complexity, verbosity"
    most_rows = 16

    def __init__(self, options: FormatOptions | None = None) -> None:
        self._attribute = (options or FormatOptions()).attribute or "helpfulness"

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether one response is rated."""
        return {"prompt", "response", "helpfulness", "correctness"} <= row.keys()

    def continues(self, before: Mapping[str, Any] | None, row: Mapping[str, Any] | None) -> bool:
        """Whether a row rates another response to the prompt of the row before."""
        return before is not None and row is not None and before.get("prompt") == row.get("prompt")

    def parse_rows(
        self, rows: Sequence[Mapping[str, Any]], *, id_: str, source: str
    ) -> PreferenceRecord:
        """The responses of one prompt, rated by one attribute and ranked by it."""
        if self._attribute not in ATTRIBUTES:
            raise MalformedRow(f"`attribute` must be one of {', '.join(ATTRIBUTES)}")
        ratings = [number_of(row, self._attribute) for row in rows]
        return PreferenceRecord(
            prompt=marked_prompt(rows[0]),
            responses=tuple(text_of(row, "response") for row in rows),
            ranking=ranking_from_scores(ratings),
            id=id_,
            ratings=tuple(ratings),
            split=split_of(rows[0]),
            source=source,
        )

    def parse(self, row: Mapping[str, Any], *, id_: str, source: str) -> PreferenceRecord:
        """One row alone: a record of one rated response."""
        return self.parse_rows([row], id_=id_, source=source)
