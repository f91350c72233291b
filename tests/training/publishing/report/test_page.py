"""The page: sound HTML that loads nothing, says what was measured, and stands hostile text."""

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.training.publishing.report.made_up_inputs import (
    Plots,
    comparisons,
    manifest_of,
    rated_inputs,
    report_inputs,
    usual_inputs,
)
from tests.training.publishing.report.reading_pages import Page
from training.data.examples import EncodedExample, StepTarget
from training.evaluation.heldout import heldout_figures
from training.publishing.report.inputs import ReportInputs
from training.publishing.report.page import html_page
from training.publishing.report.plots.all_plots import draw_plots

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)></pre></main>{{ 7 * 7 }}"


def page_of(given: ReportInputs, plots: Plots, *, most_mistakes: int = 20) -> str:
    return html_page(given, manifest_of(given), plots, most_mistakes=most_mistakes)


@pytest.fixture(scope="module")
def usual(plots: Plots) -> tuple[ReportInputs, str]:
    given = usual_inputs()
    return given, page_of(given, plots)


def assert_sound(html: str) -> Page:
    page = Page(html)
    assert page.faults == []
    assert len(page.ids) == len(set(page.ids))
    assert {"script", "link", "iframe", "object", "embed", "base"}.isdisjoint(page.tags)
    assert [name for name in page.attributes if name.startswith("on")] == []
    assert [link for link in page.links if not link.startswith("#")] == []
    anchors = {link[1:] for link in page.links}
    assert anchors <= set(page.ids)
    style = "".join(re.findall(r"<style>.*?</style>", html, flags=re.DOTALL))
    assert "@import" not in style
    assert "url(" not in style
    assert re.findall(r"url\((?!#)", html.replace(style, "")) == []
    assert "default-src 'none'" in html
    return page


def test_the_page_is_sound_and_loads_nothing(usual: tuple[ReportInputs, str]) -> None:
    page = assert_sound(usual[1])

    assert {"header", "nav", "main", "footer", "h1"} <= set(page.tags)
    assert len(page.labels) == 8
    assert all(len(label) > 20 for label in page.labels)


def test_every_table_has_headings_for_columns_and_rows(usual: tuple[ReportInputs, str]) -> None:
    html = usual[1]

    for table in re.findall(r"<table>.*?</table>", html, flags=re.DOTALL):
        assert "<caption>" in table
        rows = re.findall(r"<tr>.*?</tr>", table, flags=re.DOTALL)
        assert all('scope="col"' in rows[0] and 'scope="row"' in row for row in rows[1:])
    for name, rows_of_text in Page(html).tables.items():
        assert len({len(row) for row in rows_of_text}) == 1, name


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Every number and word of a JSON value by its path, but for what stands in long lists."""
    if isinstance(value, dict):
        found: dict[str, Any] = {}
        for key, inner in value.items():
            found |= leaves(inner, f"{path}.{key}" if path else key)
        return found
    if isinstance(value, list) and not (len(value) == 2 and isinstance(value[0], float)):
        return {}
    return {path: value}


def test_every_figure_on_the_page_equals_the_manifest_s(usual: tuple[ReportInputs, str]) -> None:
    given, html = usual
    metrics = json.loads(json.dumps(manifest_of(given).to_json()))["metrics"]

    shown = dict(Page(html).tables["Every figure"][1:])

    wanted = leaves(metrics)
    assert shown.keys() == wanted.keys()
    for name, value in wanted.items():
        assert shown[name] == value if isinstance(value, str) else json.loads(shown[name]) == value
    assert "accuracy.bootstrap.low" in shown
    assert "calibration.pairs.before.ece" in shown


def test_the_same_figures_give_the_same_page(usual: tuple[ReportInputs, str]) -> None:
    given = report_inputs()

    assert page_of(given, draw_plots(given)) == usual[1]


@pytest.mark.parametrize(
    "text",
    [
        HOSTILE,
        "\u202eright to left \u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd",
        "\x00\x07\x1b[31m\ud800\ufffe",
        "]]><!-- </style></title>&amp;&#0;",
    ],
    ids=["markup", "right to left", "controls", "ends of elements"],
)
def test_hostile_text_is_text(plots: Plots, text: str) -> None:
    made, rewards = comparisons(24, texts=(f"{text} prompt", f"{text} chosen", f"{text} other"))
    html = page_of(report_inputs(made, rewards), plots)

    page = assert_sound(html)

    html.encode("utf-8")
    assert "49" not in re.findall(r"7 \* 7|{{|49}}", page.text)
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", html)
    if text == HOSTILE:
        assert f"{HOSTILE} prompt" in page.text


def test_endless_texts_are_folded_cut_and_counted(plots: Plots) -> None:
    long = "x" * 100_000
    made, rewards = comparisons(40, texts=(long, '"' * 100_000, "&" * 100_000))

    html = page_of(report_inputs(made, rewards), plots)

    page = assert_sound(html)
    assert len(html.encode()) < 3_000_000
    assert "all 100,000 characters" in page.text
    assert "95,000 more characters are left out here." in page.text


def test_no_text_of_the_data_stands_there_when_none_is_to_be_quoted(plots: Plots) -> None:
    made, rewards = comparisons(24, texts=("SECRET prompt", "SECRET chosen", "SECRET other"))

    html = page_of(report_inputs(made, rewards), plots, most_mistakes=0)

    assert "SECRET" not in html
    assert "report_mistakes = 0" in html
    assert "quotes held-out data" not in html


def test_a_model_of_ratings_alone_has_a_sound_page_that_says_what_is_absent() -> None:
    given = rated_inputs()

    page = assert_sound(page_of(given, draw_plots(given)))

    assert len(page.labels) == 2  # reward against length, and the learning curves
    assert "No pairs were held out" in page.text
    assert "A threshold belongs to the safety role alone." in page.text
    assert "mean squared error" in page.text
    assert not any(name.startswith("Accuracy on") for name in page.tables)
    assert "nan" not in page.text.lower().split()


def test_a_model_of_steps_alone_has_a_sound_page() -> None:
    made = [
        EncodedExample(
            str(n),
            str(n),
            f"question {n}",
            ("one. two.",),
            step_targets=((StepTarget(3, float(n % 2)), StepTarget(5, 1.0)),),
        )
        for n in range(12)
    ]
    rewards = [(0.1 * n,) for n in range(12)]
    steps = [((1.0 - 2 * (n % 3), 0.5),) for n in range(12)]
    base = report_inputs(
        made, rewards, role="helpfulness", head="per_token", objectives={"steps": 1.0}
    )
    given = replace(base, figures=heldout_figures(made, rewards, steps))

    page = assert_sound(page_of(given, draw_plots(given)))

    assert any(name.startswith("Steps: ") for name in page.tables)
    assert "fall on their side of score 0.5" in page.text


def test_the_worst_mistakes_stand_first_and_with_their_rewards(plots: Plots) -> None:
    made, rewards = comparisons(8, safety=False)
    rewards = [tuple(3.0 - i for i in range(len(given))) for given in rewards]
    rewards[3], rewards[6] = (-4.0, 5.5), (-1.0, 0.25)

    page = Page(page_of(report_inputs(made, rewards, role="helpfulness"), plots))

    quoted = page.text[page.text.index("2 of ") :]
    assert quoted.index("-9.500") < quoted.index("-1.250")
    assert "question 3" in quoted
    assert "question 6" in quoted
    assert "question 2" not in quoted
    assert "-4.000" in quoted
    assert "+5.500" in quoted


def test_a_hundred_thousand_pairs_stay_below_three_megabytes() -> None:
    """Only what grows with the data is made here: figures of so many would take minutes."""
    made, rewards = comparisons(40)
    small = report_inputs(made, rewards)
    many = 2000
    logged = [
        {"step": n, "loss": 1 / n, "accuracy": 0.5, "learning_rate": 1e-5} for n in range(1, 20_000)
    ]
    given = replace(
        small,
        history=logged,
        examples=list(small.examples) * many,
        rewards=list(small.rewards) * many,
    )
    assert len(given.pairs.gap) > 100_000
    assert np.isfinite(given.pairs.gap).all()

    html = page_of(given, draw_plots(given))

    assert len(html.encode()) < 3_000_000
    assert re.search(r"1,500 of \d+,000 responses are drawn, at random", html)
