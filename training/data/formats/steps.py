"""Responses scored step by step: TRL's stepwise supervision, and `steps` with `step_labels`.

Source: huggingface.co/docs/trl/dataset_formats (stepwise supervision).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from training.data.formats.fields import list_of, prompt_of
from training.data.formats.options import FormatOptions
from training.data.records import PreferenceRecord, StepLabel, is_number, text_of, texts_of
from training.errors import MalformedRow, UnusableRow

_LABELS: Mapping[int, float] = {1: 1.0, 0: 0.5, -1: 0.0}
"""PRM800K's labels: good, neutral, wrong. A neutral step is neither, so it stands in the middle."""


class StepwiseFormat:
    """{"prompt", "completions": [step, …], "labels": [true, …]}."""

    name = "trl-stepwise"
    keys = "prompt, completions (list of steps), labels (list of true or false)"

    def __init__(self, options: FormatOptions | None = None) -> None:
        self._separator = (options or FormatOptions()).step_separator

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether there are completions and labels."""
        return {"prompt", "completions", "labels"} <= row.keys()

    def parse(self, row: Mapping[str, Any], *, id_: str, source: str) -> PreferenceRecord:
        """The row as one response with labelled steps."""
        labels = list_of(row, "labels")
        if not all(isinstance(label, bool) or label in {0, 1} for label in labels):
            raise MalformedRow("`labels` must be a list of true or false")
        completions = texts_of(row, "completions")
        if len(completions) != len(labels):
            raise MalformedRow(f"{len(labels)} `labels` for {len(completions)} `completions`")
        response, steps = joined_steps(completions, [float(x) for x in labels], self._separator)
        return _record(row, response, steps, id_, source)


class ProcessStepsFormat:
    """{"prompt", "steps": [text, …], "step_labels": [1 | 0 | -1 | null, …]}."""

    name = "process-steps"
    keys = "prompt, steps (list of texts), step_labels (1 good, 0 neutral, -1 wrong, null)"

    def __init__(self, options: FormatOptions | None = None) -> None:
        self._separator = (options or FormatOptions()).step_separator

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether there are steps with labels."""
        return {"prompt", "steps", "step_labels"} <= row.keys()

    def parse(self, row: Mapping[str, Any], *, id_: str, source: str) -> PreferenceRecord:
        """The row as one response with the steps that somebody scored."""
        given = list_of(row, "step_labels")
        if not all(x is None or (is_number(x) and x in _LABELS) for x in given):
            raise MalformedRow("`step_labels` must hold 1, 0, -1 or null")
        texts = texts_of(row, "steps")
        if len(texts) != len(given):
            raise MalformedRow(f"{len(given)} `step_labels` for {len(texts)} `steps`")
        labels = [None if x is None else _LABELS[int(x)] for x in given]
        response, steps = joined_steps(texts, labels, self._separator)
        source = text_of(row, "source") if row.get("source") is not None else source
        return _record(row, response, steps, id_, source)


def joined_steps(
    texts: Sequence[str], labels: Sequence[float | None], separator: str
) -> tuple[str, tuple[StepLabel, ...]]:
    """A response from its steps, and where each scored one ends.

    A step ends behind its separator, where TRL puts its label too and where the server reads the
    reward of a step that such a separator ends. TRL also writes one behind the last step; a served
    response ends without, so here the last step ends with its own text.

    Args:
        texts: of the steps.
        labels: of the steps, 0 to 1; None where nobody scored.
        separator: between two steps.
    """
    response, steps = "", []
    for position, (text, label) in enumerate(zip(texts, labels, strict=True)):
        before = len(response)
        response += text + (separator if position + 1 < len(texts) else "")
        if label is not None and len(response) > before:
            steps.append(StepLabel(len(response), label))
    return response, tuple(steps)


def _record(
    row: Mapping[str, Any],
    response: str,
    steps: tuple[StepLabel, ...],
    id_: str,
    source: str,
) -> PreferenceRecord:
    if not response.strip():
        raise UnusableRow("no_response")
    return PreferenceRecord(
        prompt=prompt_of(row, "prompt"),
        responses=(response,),
        ranking=(0,),
        id=id_,
        steps=(steps,) if steps else None,
        source=source,
    )
