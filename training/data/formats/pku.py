"""PKU-SafeRLHF: two preferences and two safety labels a row, one for each reward model.

Source: huggingface.co/datasets/PKU-Alignment/PKU-SafeRLHF; arXiv 2310.12773, arXiv 2406.15513.
"""

from collections.abc import Mapping
from typing import Any

from training.data.formats.fields import flag_of, whole_of
from training.data.formats.options import FormatOptions
from training.data.records import PreferenceRecord, text_of

_KEYS = {
    "response_0",
    "response_1",
    "is_response_0_safe",
    "is_response_1_safe",
    "better_response_id",
    "safer_response_id",
}


class PkuSafeRlhfFormat:
    """A helpfulness record by `better_response_id`, or a safety record by `safer_response_id`."""

    name = "pku-saferlhf"
    keys = "prompt, response_0/1, is_response_0/1_safe, better_response_id, safer_response_id"

    def __init__(self, options: FormatOptions | None = None) -> None:
        self._safety = (options or FormatOptions()).role == "safety"

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether both preferences and both labels are there."""
        return row.keys() >= _KEYS

    def parse(self, row: Mapping[str, Any], *, id_: str, source: str) -> PreferenceRecord:
        """The row as the record that the role asks for; both carry the safety labels."""
        key = "safer_response_id" if self._safety else "better_response_id"
        preferred = whole_of(row, key, (0, 1))
        return PreferenceRecord(
            prompt=text_of(row, "prompt"),
            responses=(text_of(row, "response_0"), text_of(row, "response_1")),
            ranking=(preferred, 1 - preferred),
            id=id_,
            is_safe=(flag_of(row, "is_response_0_safe"), flag_of(row, "is_response_1_safe")),
            is_safety=self._safety,
            source=source,
        )
