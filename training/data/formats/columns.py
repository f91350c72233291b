"""Formats that differ by their columns alone: one table, a row for each.

Sources: huggingface.co/datasets/PKU-Alignment/PKU-SafeRLHF (arXiv 2310.12773, arXiv 2406.15513);
nvidia/HelpSteer2 (arXiv 2410.01257) and nvidia/HelpSteer3 (arXiv 2505.11475);
github.com/openai/summarize-from-feedback, README (comparisons);
github.com/openai/lm-human-preferences (labels); huggingface.co/datasets/berkeley-nest/Nectar;
github.com/tatsu-lab/alpaca_farm; DeepSpeed-Chat's Dahoas/rm-static;
huggingface.co/docs/trl/dataset_formats.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rm_core.types import Message
from training.data.formats.fields import (
    STRENGTH_OF_STEPS,
    flag_of,
    list_of,
    number_of,
    object_of,
    prompt_of,
    whole_of,
)
from training.data.formats.hh_rlhf import has_turn_marks, transcript_messages, transcript_or_text
from training.data.formats.nemo import marked_prompt
from training.data.formats.openai import strength_of_confidence, summary_prompt, summary_texts
from training.data.formats.options import FormatOptions
from training.data.formats.splits import split_of
from training.data.formats.trl import completion_of, refuse_template_arguments
from training.data.records import PreferenceRecord, margin_of, ranking_from_scores, text_of
from training.errors import MalformedRow, UnusableRow

Values = Mapping[str, Any]
"""A row's columns by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnFormat:
    """A format as a row of the table.

    Attributes:
        name: what `--format` calls it.
        keys: the keys that a row has, for messages and docs.
        columns: a row with all of them is in this format, if `also` says so too.
        prompt: of a row.
        responses: of a row.
        labels: the record's other fields, `ranking` among them; 0 is best.
        also: what else a row must show.
        options: what the rows themselves don't say.
    """

    name: str
    keys: str
    columns: tuple[str, ...]
    prompt: Callable[[Values], str | tuple[Message, ...]]
    responses: Callable[[Values], tuple[str, ...]]
    labels: Callable[[Values, FormatOptions], Mapping[str, Any]]
    also: Callable[[Values], bool] = lambda _: True
    options: FormatOptions = field(default_factory=FormatOptions)

    def matches(self, row: Values) -> bool:
        """Whether the columns are there."""
        return all(column in row for column in self.columns) and self.also(row)

    def parse(self, row: Values, *, id_: str, source: str) -> PreferenceRecord:
        """The row as a record; see `Format.parse`."""
        return PreferenceRecord(
            prompt=self.prompt(row),
            responses=self.responses(row),
            id=id_,
            source=source,
            **self.labels(row, self.options),
        )

    def under(self, options: FormatOptions) -> "ColumnFormat":
        """The same format, read with these options."""
        return replace(self, options=options)


def _text(column: str) -> Callable[[Values], str]:
    return lambda row: text_of(row, column)


def _texts(*columns: str) -> Callable[[Values], tuple[str, ...]]:
    return lambda row: tuple(text_of(row, column) for column in columns)


def _are_texts(*columns: str) -> Callable[[Values], bool]:
    return lambda row: all(isinstance(row[column], str) for column in columns)


def _first_is_better(row: Values, _: FormatOptions) -> Mapping[str, Any]:
    return {"ranking": (0, 1), "margin": margin_of(row.get("margin"))}


def _signed(column: str) -> Callable[[Values, FormatOptions], Mapping[str, Any]]:
    """HelpSteer's -3 to 3: negative prefers the first response, 0 is a tie."""

    def labels(row: Values, _: FormatOptions) -> Mapping[str, Any]:
        preference = whole_of(row, column, range(-3, 4))
        return {
            "ranking": (int(preference > 0), int(preference < 0)),
            "strength": STRENGTH_OF_STEPS.get(abs(preference)),
            "split": split_of(row),
        }

    return labels


def _pku(row: Values, options: FormatOptions) -> Mapping[str, Any]:
    """A helpfulness record by `better_response_id`, or a safety record by `safer_response_id`."""
    is_safety = options.role == "safety"
    preferred = whole_of(row, "safer_response_id" if is_safety else "better_response_id", (0, 1))
    return {
        "ranking": (preferred, 1 - preferred),
        "is_safe": (flag_of(row, "is_response_0_safe"), flag_of(row, "is_response_1_safe")),
        "is_safety": is_safety,
    }


def _summary_choice(row: Values, _: FormatOptions) -> Mapping[str, Any]:
    choice = whole_of(row, "choice", (0, 1))
    return {
        "ranking": (choice, 1 - choice),
        "strength": strength_of_confidence(row.get("extra"), choice),
        "split": split_of(row),
    }


def _samples(row: Values) -> tuple[str, ...]:
    count = next(i for i in range(len(row) + 1) if f"sample{i}" not in row)
    return tuple(text_of(row, f"sample{i}") for i in range(count))


def _best_sample(row: Values, _: FormatOptions) -> Mapping[str, Any]:
    """The best of several, the others not compared: all but it tie."""
    count = len(_samples(row))
    best = whole_of(row, "best", range(count))
    return {"ranking": tuple(int(i != best) for i in range(count))}


def _answers(row: Values) -> list[Mapping[str, Any]]:
    answers = [object_of(answer, "answers") for answer in list_of(row, "answers")]
    if not answers:
        raise UnusableRow("no_response")
    return answers


def _nectar_ranks(row: Values, _: FormatOptions) -> Mapping[str, Any]:
    ranks = [number_of(answer, "rank") for answer in _answers(row)]  # 1 is the best
    return {"ranking": ranking_from_scores([-rank for rank in ranks])}


def _instruction(row: Values) -> str:
    further = "\n" + text_of(row, "input") if row.get("input") else ""
    return text_of(row, "instruction") + further


def _one_or_two(row: Values, _: FormatOptions) -> Mapping[str, Any]:
    preference = number_of(row, "preference")
    if preference not in {0, 1, 1.5, 2}:
        raise MalformedRow("`preference` must be 1 or 2, or 1.5 or 0 for a tie")
    return {"ranking": (int(preference == 2), int(preference == 1))}


def _good_or_bad(row: Values, _: FormatOptions) -> Mapping[str, Any]:
    refuse_template_arguments(row)
    return {"ranking": (0,), "ratings": (float(flag_of(row, "label")),)}


COLUMN_FORMATS: Mapping[str, ColumnFormat] = {
    layout.name: layout
    for layout in (
        ColumnFormat(
            name="pku-saferlhf",
            keys=(
                "prompt, response_0/1, is_response_0/1_safe, better_response_id, safer_response_id"
            ),
            columns=(
                *("response_0", "response_1", "is_response_0_safe", "is_response_1_safe"),
                *("better_response_id", "safer_response_id"),
            ),
            prompt=_text("prompt"),
            responses=_texts("response_0", "response_1"),
            labels=_pku,
        ),
        ColumnFormat(
            name="helpsteer3",
            keys="context, response1, response2, overall_preference (-3 to 3)",
            columns=("context", "response1", "response2", "overall_preference"),
            prompt=lambda row: prompt_of(row, "context"),
            responses=_texts("response1", "response2"),
            labels=_signed("overall_preference"),
        ),
        ColumnFormat(
            name="helpsteer2-preference",
            keys="prompt, response_1, response_2, preference_strength (-3 to 3)",
            columns=("response_1", "response_2", "preference_strength"),
            prompt=marked_prompt,
            responses=_texts("response_1", "response_2"),
            labels=_signed("preference_strength"),
        ),
        ColumnFormat(
            name="openai-summarize",
            keys="info, summaries (two), choice (0 or 1), extra.confidence (1 to 9)",
            columns=("info", "summaries", "choice"),
            prompt=summary_prompt,
            responses=summary_texts,
            labels=_summary_choice,
        ),
        ColumnFormat(
            name="lm-human-preferences",
            keys="query, sample0, sample1, …, best (index)",
            columns=("query", "sample0", "sample1", "best"),
            prompt=_text("query"),
            responses=_samples,
            labels=_best_sample,
        ),
        ColumnFormat(
            name="nectar",
            keys="prompt, answers (objects with answer and rank, 1 the best)",
            columns=("prompt", "answers"),
            also=lambda row: isinstance(row["answers"], list),
            prompt=lambda row: transcript_or_text(text_of(row, "prompt")),
            responses=lambda row: tuple(text_of(answer, "answer") for answer in _answers(row)),
            labels=_nectar_ranks,
        ),
        ColumnFormat(
            name="alpaca-farm",
            keys="instruction, input, output_1, output_2, preference (1 or 2; 1.5 or 0 a tie)",
            columns=("instruction", "output_1", "output_2", "preference"),
            prompt=_instruction,
            responses=_texts("output_1", "output_2"),
            labels=_one_or_two,
        ),
        ColumnFormat(
            name="ds-chat",
            keys='prompt (a transcript that ends with "\\n\\nAssistant:"), chosen, rejected',
            columns=("prompt", "chosen", "rejected"),
            also=lambda row: (
                _are_texts("prompt", "chosen", "rejected")(row) and has_turn_marks(row["prompt"])
            ),
            prompt=lambda row: transcript_messages(text_of(row, "prompt")),
            responses=lambda row: tuple(
                text_of(row, side).strip() for side in ("chosen", "rejected")
            ),
            labels=_first_is_better,
        ),
        ColumnFormat(
            name="trl-explicit",
            keys="prompt, chosen, rejected (strings)",
            columns=("prompt", "chosen", "rejected"),
            also=_are_texts("prompt", "chosen", "rejected"),
            prompt=_text("prompt"),
            responses=_texts("chosen", "rejected"),
            labels=_first_is_better,
        ),
        ColumnFormat(
            name="trl-unpaired",
            keys="prompt, completion, label (true or false)",
            columns=("prompt", "completion", "label"),
            prompt=lambda row: prompt_of(row, "prompt"),
            responses=completion_of,
            labels=_good_or_bad,
        ),
    )
}
"""By name."""
