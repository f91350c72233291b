"""Responses that nobody ordered: samples of a policy, or answers with labels of their own.

They hold no pair to train on; references and `is_safe` labels for calibration come so.
"""

from collections.abc import Mapping
from typing import Any

from training.data.formats.canonical import ORDERS, CanonicalFormat
from training.data.records import PreferenceRecord, text_of, texts_of


class UnrankedFormat:
    """{"prompt", "responses"} or {"prompt", "response"}, and what else a canonical row may say."""

    name = "unranked"
    keys = "prompt, responses (or response), without an order; optionally is_safe"

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether a row has a prompt and a response, or several."""
        return "prompt" in row and ("responses" in row or "response" in row)

    def parse(self, row: Mapping[str, Any], *, id_: str, source: str) -> PreferenceRecord:
        """The row as a record whose responses all have one rank; nothing prefers any of them."""
        canonical = dict(row)
        if "responses" not in row:
            canonical["responses"] = [text_of(row, "response")]
            if isinstance(row.get("is_safe"), bool):
                canonical["is_safe"] = [row["is_safe"]]
        if row.keys().isdisjoint(ORDERS):  # a canonical row among these keeps its order
            canonical["ranking"] = [0] * len(texts_of(canonical, "responses"))
        return CanonicalFormat().parse(canonical, id_=id_, source=source)
