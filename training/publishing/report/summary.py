"""The summary at the top of the page: what the model is, how good beside what, its warnings."""

from dataclasses import dataclass

from rm_core.checkpoint.manifest import RewardModelManifest
from training.evaluation.tables.cells import accuracy_cell, counted
from training.evaluation.tables.heldout import sentences
from training.publishing.report.inputs import ReportInputs
from training.publishing.report.warnings import warnings_of

_SHOWN_AT_THE_TOP = 2


@dataclass(frozen=True, slots=True)
class Summary:
    """The summary's three lines, and further warnings.

    Attributes:
        title: of the page.
        what: what the model is.
        how_good: accuracy beside the best baseline, or what is known instead.
        warnings: the gravest warnings; a sentence where there are none.
        further: the other warnings.
    """

    title: str
    what: str
    how_good: str
    warnings: tuple[str, ...]
    further: tuple[str, ...]


def summary_of(inputs: ReportInputs, manifest: RewardModelManifest) -> Summary:
    """The summary of one training."""
    found = warnings_of(inputs)
    nothing = "None of the rules of this report has found anything; it knows only what it measured."
    return Summary(
        title=f"{manifest.role.capitalize()} reward model",
        what=_what(inputs, manifest),
        how_good=_how_good(inputs),
        warnings=tuple(found[:_SHOWN_AT_THE_TOP]) or (nothing,),
        further=tuple(found[_SHOWN_AT_THE_TOP:]),
    )


def _what(inputs: ReportInputs, manifest: RewardModelManifest) -> str:
    train = inputs.data.splits["train"]
    learned = [counted(train.pairs, "pair")] if train.pairs else []
    learned += [counted(train.rated, "rated response")] if train.rated else []
    learned += [counted(train.steps, "labelled step")] if train.steps else []
    trained = {
        "full": "every weight trained",
        "head": "its head alone trained",
        "lora": "a LoRA adapter and its head trained",
        "qlora": "a LoRA adapter on a 4-bit trunk and its head trained",
    }[inputs.config.trainable]
    objectives = " + ".join(name.replace("_", " ") for name in inputs.config.weights)
    higher = "safer" if manifest.role == "safety" else "more helpful"
    return (
        f"Gives a response one number, the reward; higher is {higher}. Made from "
        f"{manifest.base_model.get('name', 'an unnamed base')}, {trained} on "
        f"{' and '.join(learned) or counted(train.responses, 'response')} of "
        f"{counted(train.prompts, 'prompt')} ({objectives})."
    )


def _how_good(inputs: ReportInputs) -> str:
    figures = inputs.figures
    if figures.pairs is None:
        return " ".join(sentences(figures)) or "Nothing was held out that tells how good it is."
    text = (
        f"Orders {accuracy_cell(figures.pairs.accuracy)} of "
        f"{counted(figures.pairs.accuracy.pairs, 'held-out pair')} as people did"
    )
    best = inputs.best_baseline
    if best is not None:
        text += f"; the best baseline, “{best[0].replace('_', ' ')}”, {accuracy_cell(best[1])}"
    return text + "."
