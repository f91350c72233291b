"""The report as one self-contained HTML page, which loads and runs nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from scipy.special import expit

from rm_core.checkpoint.manifest import RewardModelManifest
from training.evaluation.rendering import html_table
from training.evaluation.tables.all_tables import model_tables
from training.evaluation.tables.cells import Table, percent
from training.evaluation.tables.heldout import accuracy_table, pairs_table, responses_table
from training.publishing.report.inputs import ReportInputs
from training.publishing.report.mistakes import Mistake, Mistakes, worst_mistakes
from training.publishing.report.plots.drawing import Absent, Plot
from training.publishing.report.summary import summary_of
from training.publishing.report.tables.calibration import calibration_tables
from training.publishing.report.tables.data import data_tables
from training.publishing.report.tables.learning import learning_table
from training.publishing.report.tables.provenance import (
    configuration_table,
    metrics_table,
    provenance_tables,
)
from training.publishing.report.texts import readable, shown

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the page.

    Attributes:
        anchor: of links to it.
        title: its heading.
        intro: a sentence or two; empty for nothing.
        plots: its pictures, or why there is none.
        tables: its tables.
        folded: tables that few will want, closed at first.
    """

    anchor: str
    title: str
    intro: str
    plots: Sequence[Plot | Absent] = ()
    tables: Sequence[Table] = ()
    folded: Sequence[Table] = ()

    @property
    def pictures(self) -> list[Plot]:
        """The plots that could be drawn."""
        return [plot for plot in self.plots if isinstance(plot, Plot)]

    @property
    def absent(self) -> list[Absent]:
        """The plots that could not be drawn, with the reason."""
        return [plot for plot in self.plots if isinstance(plot, Absent)]

    @property
    def is_small(self) -> bool:
        """Whether its picture and its table fit beside one another."""
        return len(self.pictures) == 1 and len(self.tables) == 1


def html_page(
    inputs: ReportInputs,
    manifest: RewardModelManifest,
    plots: Mapping[str, Plot | Absent],
    *,
    most_mistakes: int,
) -> str:
    """The report as an HTML document; the same input gives the same text.

    It quotes `most_mistakes` held-out pairs ordered wrong; of 0 no text of the data stands there.
    """
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = shown
    environment.filters["readable"] = readable
    environment.filters["html_table"] = html_table
    environment.filters["signed"] = lambda value: f"{value:+.3f}"
    mistakes = worst_mistakes(inputs.examples, inputs.rewards, most=most_mistakes)
    temperature = inputs.calibration.fit.calibration.temperature
    return environment.get_template("page.html.jinja").render(
        # Ours, and made of numbers and names of our own: the only things that are not escaped.
        css=Markup((_HERE / "page.css").read_text(encoding="utf-8")),  # noqa: S704
        svg=lambda plot: Markup(plot.svg),  # noqa: S704
        summary=summary_of(inputs, manifest),
        sections=_sections(inputs, manifest, plots),
        provenance=_provenance(manifest),
        mistakes=mistakes,
        mistakes_intro=_mistakes_intro(inputs, mistakes, most_mistakes),
        facts=lambda one: _facts(one, temperature),
    )


def _sections(
    inputs: ReportInputs, manifest: RewardModelManifest, plots: Mapping[str, Plot | Absent]
) -> list[Section]:
    figures = inputs.figures
    accuracy, pairs = accuracy_table(figures, inputs.baselines), pairs_table(figures)
    responses = responses_table(figures)
    further = model_tables(figures)
    length = [table for table in further if table.title == "Length"]
    rest = [table for table in further if table.title != "Length"]
    folded = metrics_table(manifest)
    return [
        Section(
            "accuracy",
            "How well it orders responses",
            "Measured on prompts that it was not trained on.",
            [plots["accuracy"], plots["best-of-n"]],
            [*([accuracy] if accuracy else []), *rest],
            [folded],
        ),
        Section(
            "rewards",
            "Its rewards",
            "The reward has no unit and no zero of its own; only differences between responses to "
            "one prompt mean something, until calibration gives them a scale.",
            [plots["rewards"], plots["margins"]],
            [*([pairs] if pairs else []), responses],
        ),
        Section(
            "calibration",
            "Calibration",
            "What the probabilities σ(reward) promise, and what came true.",
            [plots["reliability"], plots["precision-recall"]],
            calibration_tables(inputs.calibration),
        ),
        Section(
            "length",
            "Length",
            "Whether it judges the answer or its size.",
            [plots["length"]],
            length,
        ),
        Section(
            "learning",
            "Learning curves",
            "",
            [plots["learning"]],
            [learning_table(inputs)],
        ),
        Section(
            "data",
            "Data",
            "What was read, used, and left out.",
            tables=data_tables(inputs),
        ),
    ]


def _provenance(manifest: RewardModelManifest) -> Section:
    return Section(
        "provenance",
        "How it was made",
        "Everything that decides its weights.",
        tables=[configuration_table(manifest), *provenance_tables(manifest)],
    )


def _mistakes_intro(inputs: ReportInputs, mistakes: Mistakes, most: int) -> str:
    pairs = inputs.figures.pairs
    if pairs is None:
        return "No pairs were held out, so none can be ordered wrong."
    total = pairs.accuracy.pairs
    text = (
        f"{mistakes.wrong:,} of {total:,} held-out pairs are ordered wrong "
        f"({percent(mistakes.wrong / total)}), ties aside, of {mistakes.prompts:,} prompts."
    )
    if not mistakes.wrong:
        return text
    if not most:
        return text + " None is quoted, as configured (report_mistakes = 0)."
    return (
        f"{text} These are the {len(mistakes.worst)} with the most negative margins, one of each "
        "prompt: some are the model's errors, some the data's."
    )


def _facts(one: Mistake, temperature: float) -> list[str]:
    """What is known of a mistake beside its texts."""
    surely = float(expit(-one.margin / temperature))
    facts = [f"the model is {100 * surely:.1f} % sure of the rejected one"]
    if one.strength is not None:
        facts.append(f"people: {one.strength.replace('_', ' ')}")
    facts += [readable(tag) for tag in one.tags[:5]]
    facts.append(f"record {readable(one.id)}")
    return facts
