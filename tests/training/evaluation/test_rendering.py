import io

from rich.console import Console

from tests.training.evaluation.made_up_examples import MadeUpScorer, example
from training.data.filters import FilteredExamples
from training.evaluation.rendering import html_table, markdown, markdown_table, print_tables
from training.evaluation.report import EvaluationReport
from training.evaluation.run import DataFacts, evaluate_scorers
from training.evaluation.tables.all_tables import report_tables
from training.evaluation.tables.cells import Table


def report(source: str = "a_source") -> EvaluationReport:
    examples = tuple(example(str(i), source=source) for i in range(4))
    scorer = MadeUpScorer(lambda text: float(len(text)), "my_model")
    return evaluate_scorers(
        FilteredExamples(examples, 0, {}),
        [scorer],
        facts=DataFacts({"data.jsonl": "canonical"}, "heldout"),
    ).report


def test_the_terminal_shows_titles_figures_and_names() -> None:
    out = io.StringIO()
    print_tables(report_tables(report("[bold]not markup")), Console(file=out, width=160))
    text = out.getvalue()
    for words in ("Accuracy: 4 pairs of 4 prompts", "my model", "100.0 %", "[bold]not markup"):
        assert words in text
    assert "51.0–100.0" in text  # Wilson's of 4 prompts


def test_a_narrow_terminal_loses_no_digit() -> None:
    out = io.StringIO()
    print_tables(report_tables(report()), Console(file=out, width=40))
    assert "…" not in out.getvalue()


def test_markdown_holds_every_table_with_its_heading_and_says_on_what() -> None:
    text = markdown(report())
    assert text.startswith(
        "# Evaluation\n\n4 prompts, 8 responses, 4 pairs (heldout of data.jsonl)"
    )
    assert "## Accuracy: 4 pairs of 4 prompts" in text
    assert "| my model | 100.0 % (51.0–100.0) |" in text
    assert "100.0–100.0" not in text
    assert "\n\n\n" not in text


def test_what_data_files_name_can_not_break_a_markdown_table() -> None:
    table = Table("T", ("", "x"), (("a|b\n<i>", "1"),), "note")
    assert (
        markdown_table(table) == "## T\n\n|  | x |\n| --- | ---: |\n| a\\|b \\<i\\> | 1 |\n\nnote"
    )


def test_html_escapes_what_data_files_name_and_sets_words_flush_left() -> None:
    table = Table("<T>", ("", "n", "a & b"), (("<i>", "1", "w"), ('"', "–", "2")), "n > 1")
    html = html_table(table)
    assert "<caption>&lt;T&gt;</caption>" in html
    assert '<th scope="col">n</th><th scope="col" class="words">a &amp; b</th>' in html
    assert '<th scope="row">&lt;i&gt;</th><td>1</td><td class="words" dir="auto">w</td>' in html
    assert '<th scope="row">&#34;</th>' in html
    assert '<p class="note">n &gt; 1</p>' in html
    assert "note" not in html_table(Table("T", ("",), (("a",),)))


def test_markdown_sets_words_flush_left_and_headings_as_deep_as_asked() -> None:
    text = markdown_table(Table("T", ("", "n", "how"), (("a", "1", "w"),)), level=3)
    assert text == "### T\n\n|  | n | how |\n| --- | ---: | --- |\n| a | 1 | w |"
