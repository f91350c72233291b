"""UltraFeedback's four completions, and its binarised form."""

from pathlib import Path
from typing import Any

import pytest

from rm_core.types import Message
from tests.training.data.formats.golden import read_rows, record
from training.data.formats.options import FormatOptions
from training.data.formats.ultrafeedback import BinarizedFormat, UltraFeedbackFormat
from training.errors import MalformedRow, UnusableRow


def completion(text: str, overall: float | None, helpfulness: str) -> dict[str, Any]:
    return {
        "model": "m",
        "response": text,
        "overall_score": overall,
        "annotations": {
            "helpfulness": {"Rating": helpfulness, "Rationale": "…"},
            "honesty": {"Rating": "4"},
            "instruction_following": {"Rating": "N/A"},
            "truthfulness": {"Rating": "2"},
        },
    }


ROW: dict[str, Any] = {
    "source": "made-up",
    "instruction": "Name a river.",
    "models": ["m"] * 4,
    "completions": [
        completion("Loire", 8.5, "3"),
        completion("Elbe", 8.5, "5"),
        completion("Chair", 1.0, "1"),
        completion("Oder", None, "N/A"),
    ],
}


def test_completions_are_ranked_by_the_overall_score(tmp_path: Path) -> None:
    assert read_rows(tmp_path, [ROW]).records == (
        record(
            1,
            prompt="Name a river.",
            responses=("Loire", "Elbe", "Chair"),
            ranking=(0, 0, 1),
            ratings=(8.5, 8.5, 1.0),
            source="made-up",
        ),
    )


@pytest.mark.parametrize(
    ("attribute", "ratings"),
    [("helpfulness", (3.0, 5.0, 1.0)), ("mean", (3.0, 11 / 3, 7 / 3, 3.0))],
)
def test_one_aspect_or_their_mean_can_be_the_rating(
    tmp_path: Path, attribute: str, ratings: tuple[float, ...]
) -> None:
    read = read_rows(tmp_path, [ROW], FormatOptions(attribute=attribute))

    assert read.records[0].ratings == pytest.approx(ratings)


def test_rows_without_completions_or_ratings_are_set_aside() -> None:
    with pytest.raises(UnusableRow, match="no_response"):
        UltraFeedbackFormat().parse({**ROW, "completions": []}, id_="", source="")
    with pytest.raises(UnusableRow, match="not_rated"):
        UltraFeedbackFormat().parse(
            {**ROW, "completions": [ROW["completions"][3]]}, id_="", source=""
        )
    with pytest.raises(MalformedRow, match="attribute"):
        UltraFeedbackFormat(FormatOptions(attribute="wit")).parse(ROW, id_="", source="")


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": "Name a river."}, {"role": "assistant", "content": text}]


@pytest.mark.parametrize(("rejected_score", "ranking"), [(2.0, (0, 1)), (8.0, (0, 0))])
def test_the_binarised_form_keeps_its_scores_as_ratings(
    tmp_path: Path, rejected_score: float, ranking: tuple[int, int]
) -> None:
    row = {
        "prompt": "Name a river.",
        "chosen": chat("Loire"),
        "rejected": chat("Chair"),
        "messages": chat("Loire"),
        "score_chosen": 8.0,
        "score_rejected": rejected_score,
    }

    assert read_rows(tmp_path, [row]).records == (
        record(
            1,
            prompt=(Message("user", "Name a river."),),
            responses=("Loire", "Chair"),
            ranking=ranking,
            ratings=(8.0, rejected_score),
        ),
    )


def test_a_score_that_is_no_number_is_refused() -> None:
    row = {"chosen": chat("a"), "rejected": chat("b"), "score_chosen": "8", "score_rejected": 1}

    with pytest.raises(MalformedRow, match="score_chosen"):
        BinarizedFormat().parse(row, id_="", source="")
