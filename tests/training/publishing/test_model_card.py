"""What a checkpoint's card says, line by line."""

from typing import Any

import pytest

from rm_core.checkpoint.manifest import HeadKind, RewardModelManifest
from rm_core.text.contract import PositionContract
from rm_core.types import Role
from tests.training.made_up import (
    made_up_baselines,
    made_up_figures,
    made_up_report,
)
from tests.training.publishing.report.made_up_inputs import manifest_of, report_inputs, usual_inputs
from training.evaluation import Figures
from training.evaluation.figures import RatingFigures
from training.evaluation.heldout import TRAINED_MODEL
from training.evaluation.tables.cells import accuracy_cell
from training.publishing.model_card import model_card
from training.publishing.report.plots.drawing import Plot

CHAT: dict[str, Any] = {
    "rendering": "chat",
    "bos": "tokenizer",
    "eos": "never",
    "read": "last_token",
    "max_length": 128,
}


def card(
    *,
    role: Role = "safety",
    figures: Figures | None = None,
    head: HeadKind = "last_token",
    **position: Any,
) -> str:
    manifest = RewardModelManifest(
        role=role,
        position=PositionContract(**{**CHAT, **position}),
        head=head,
        base_model={"name": "org/base"},
    )
    return model_card(manifest, made_up_report(), figures or made_up_figures(), made_up_baselines())


def test_the_model_stands_first_in_the_table_and_each_baseline_below_it() -> None:
    table = card().split("### Accuracy on ")[1].split("\n\n")[1].splitlines()

    assert len({line.count("|") for line in table}) == 1
    assert table[2].startswith("| reward model | 75.0 % |")
    assert table[3].startswith("| longer wins | 0.0 % |")


@pytest.mark.parametrize(("role", "word"), [("safety", "safer"), ("helpfulness", "more helpful")])
def test_the_card_says_which_way_is_up(role: Role, word: str) -> None:
    assert f"higher is {word}." in card(role=role)


def test_the_card_counts_what_was_left_out_and_names_no_id() -> None:
    text = card()

    assert "dropped: 2 × empty prompt or response" in text
    assert "private-id" not in text
    assert "f" * 64 in text


def test_strengths_have_a_table_only_where_the_data_has_strengths() -> None:
    assert "grade of strength" not in card()
    graded = card(figures=made_up_figures(strength="slightly_better"))
    assert "|  | slightly better (4) | avg |" in graded


@pytest.mark.parametrize(
    ("position", "line", "special"),
    [
        ({}, "text = tokenizer.apply_chat_template(messages, tokenize=False)", "False"),
        ({"rendering": "concatenate"}, "text = prompt + response", "True"),
        (
            {"rendering": "concatenate", "eos": "if_absent"},
            "text = prompt + response + tokenizer.eos_token",
            "True",
        ),
    ],
)
def test_the_lines_of_python_follow_the_position_contract(
    position: dict[str, str], line: str, special: str
) -> None:
    code = card(**position).split("```python\n")[1].split("```")[0]

    compile(code, "card", "exec")
    assert line in code.splitlines()
    assert f"add_special_tokens={special}," in code


def test_the_front_matter_is_what_the_hub_reads() -> None:
    _, front, _ = card().split("---\n", 2)

    assert "library_name: transformers" in front.splitlines()
    assert "pipeline_tag: text-classification" in front.splitlines()


def test_a_model_of_ratings_alone_tells_its_error_and_claims_no_accuracy() -> None:
    figures = Figures(TRAINED_MODEL, 4, 9, 1.0, 2.0, ratings=RatingFigures(9, 0.25, 1.5, 0.875))
    text = card(figures=figures)
    assert "No pairs were held out" in text
    assert "0.2500" in text
    assert "1.5000" in text
    assert "+0.875" in text
    assert "accuracy |" not in text


def test_the_card_tells_calibration_threshold_and_safety_bins_and_shows_its_pictures() -> None:
    given = usual_inputs()
    manifest = manifest_of(given)
    plot = Plot("accuracy", "", "", "how accurate it is", "", b"")

    text = model_card(
        manifest, given.data, given.figures, given.baselines, {"figures/accuracy.png": plot}
    )

    before, after = given.calibration.pairs.before, given.calibration.pairs.after
    found, safety = manifest.safety_threshold, given.figures.safety
    assert f"{before.ece:.3f} before, {after.ece:.3f} after" in text
    assert f"τ = {found.tau:.4f}" in text
    assert f"precision {found.precision:.1%}, recall {found.recall:.1%}" in text
    assert f"both safe ({safety.bins['both_safe'].pairs})" in text
    assert accuracy_cell(safety.bins["both_safe"]) in text
    assert "![how accurate it is](figures/accuracy.png)" in text
    assert "(../safety.run/report/report.html)" in text


def test_the_card_names_no_report_where_none_was_written() -> None:
    given = report_inputs(report=False)

    assert "report.html" not in model_card(
        manifest_of(given), given.data, given.figures, given.baselines
    )


def test_a_mean_head_s_card_gives_no_code_that_would_read_the_last_token() -> None:
    assert "```python" in card()
    text = card(head="mean")
    assert "```python" not in text
    assert "mean of the rewards" in text
