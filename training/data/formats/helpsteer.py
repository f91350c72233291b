"""NVIDIA's HelpSteer2 (ratings and preferences) and HelpSteer3 (preferences).

Source: huggingface.co/datasets/nvidia/HelpSteer2 and nvidia/HelpSteer3; arXiv 2410.01257,
arXiv 2505.11475.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rm_core.types import Message
from training.data.formats.fields import STRENGTH_OF_STEPS, number_of, prompt_of, whole_of
from training.data.formats.nemo import marked_turns
from training.data.formats.options import FormatOptions
from training.data.formats.splits import split_named
from training.data.records import PreferenceRecord, ranking_from_scores, text_of
from training.errors import MalformedRow
from training.types import Split

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
            prompt=_prompt(rows[0]),
            responses=tuple(text_of(row, "response") for row in rows),
            ranking=ranking_from_scores(ratings),
            id=id_,
            ratings=tuple(ratings),
            split=_split(rows[0]),
            source=source,
        )

    def parse(self, row: Mapping[str, Any], *, id_: str, source: str) -> PreferenceRecord:
        """One row alone: a record of one rated response."""
        return self.parse_rows([row], id_=id_, source=source)


class HelpSteer2PreferenceFormat:
    """{"prompt", "response_1", "response_2", "preference_strength"}: negative prefers the first."""

    name = "helpsteer2-preference"
    keys = "prompt, response_1, response_2, preference_strength (-3 to 3)"

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether two responses were compared by strength."""
        return {"response_1", "response_2", "preference_strength"} <= row.keys()

    def parse(self, row: Mapping[str, Any], *, id_: str, source: str) -> PreferenceRecord:
        """The row as a record with its grade; 0 is a tie."""
        responses = (text_of(row, "response_1"), text_of(row, "response_2"))
        return _graded(row, _prompt(row), responses, "preference_strength", id_, source)


class HelpSteer3Format:
    """{"context": [messages], "response1", "response2", "overall_preference"}."""

    name = "helpsteer3"
    keys = "context, response1, response2, overall_preference (-3 to 3)"

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether two responses were compared by overall preference."""
        return {"context", "response1", "response2", "overall_preference"} <= row.keys()

    def parse(self, row: Mapping[str, Any], *, id_: str, source: str) -> PreferenceRecord:
        """The row as a record with its grade; 0 is a tie."""
        responses = (text_of(row, "response1"), text_of(row, "response2"))
        context = prompt_of(row, "context")
        return _graded(row, context, responses, "overall_preference", id_, source)


def _graded(
    row: Mapping[str, Any],
    prompt: str | tuple[Message, ...],
    responses: tuple[str, str],
    key: str,
    id_: str,
    source: str,
) -> PreferenceRecord:
    preference = whole_of(row, key, range(-3, 4))
    return PreferenceRecord(
        prompt=prompt,
        responses=responses,
        ranking=(int(preference > 0), int(preference < 0)),
        id=id_,
        strength=STRENGTH_OF_STEPS.get(abs(preference)),
        split=_split(row),
        source=source,
    )


def _prompt(row: Mapping[str, Any]) -> str | tuple[Message, ...]:
    """The prompt; a dialogue in NeMo's marks becomes messages."""
    text = text_of(row, "prompt")
    turns = marked_turns(text)
    return turns if len(turns) > 1 else text


def _split(row: Mapping[str, Any]) -> Split | None:
    split = row.get("split")
    return split_named(split) if isinstance(split, str) else None
