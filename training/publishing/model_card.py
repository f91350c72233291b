"""The checkpoint's README.md: what it is, what it reaches beside the baselines, its limits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rm_core.checkpoint.manifest import RewardModelManifest
from training.data.report import DataReport
from training.evaluation import Accuracy, Evaluation
from training.evaluation.baselines import BASELINES
from training.evaluation.heldout import HeldoutFigures
from training.evaluation.safety import SAFETY_BINS, SafetyFigures
from training.publishing.report.plots.drawing import Plot

_FRONT_MATTER = """---
library_name: transformers
pipeline_tag: text-classification
tags: [reward-model, rlhf, rewardd]
---
"""


def model_card(
    manifest: RewardModelManifest,
    report: DataReport,
    figures: HeldoutFigures,
    baselines: Mapping[str, Accuracy],
    pictures: Mapping[str, Plot] | None = None,
) -> str:
    """The card as Markdown.

    Args:
        manifest: everything but the digests.
        report: what the data held.
        figures: measured on the held-out split.
        baselines: held-out accuracies of the baselines.
        pictures: plots by their paths in the checkpoint.
    """
    sections = [
        _FRONT_MATTER + f"# {manifest.role.capitalize()} reward model",
        f"Gives one real number, the reward, to a response in the light of its prompt; higher is "
        f"{'safer' if manifest.role == 'safety' else 'more helpful'}. Initialised from "
        f"`{manifest.base_model.get('name')}`, trained with rewardd.",
        "## Held-out figures",
        *_of_pairs(figures.pairs, baselines),
        safety_table(figures.safety),
        " ".join(figures.lines()),
        *(f"![{plot.alt}]({path})" for path, plot in (pictures or {}).items()),
        *_calibration(manifest),
        _where_the_report_is(manifest),
        "## Data",
        f"```text\n{_report_without_ids(report)}\n```",
        f"Fingerprint of the kept comparisons: `{report.fingerprint}`. The ids of everything left "
        "out stand in `data_report.json`.",
        "## Reading a score",
        _usage(manifest),
        "## Limits",
        "The reward orders responses to one prompt; its absolute value has no unit. It was "
        "measured on data like its training data and on nothing else. Where a baseline comes "
        "close, or wins, the model has learned little beyond what that baseline sees.",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _of_pairs(evaluation: Evaluation | None, baselines: Mapping[str, Accuracy]) -> list[str]:
    if evaluation is None:
        return ["No pairs were held out, so that nothing is known of how it orders responses."]
    return [accuracy_table(evaluation, baselines), _figures(evaluation), _strengths(evaluation)]


def accuracy_table(evaluation: Evaluation, baselines: Mapping[str, Accuracy]) -> str:
    """Markdown table of the model's held-out accuracy beside the baselines'."""
    rows = [("**this model**", "reads prompt and response", evaluation.accuracy)]
    rows += [(name.replace("_", " "), BASELINES[name], baselines[name]) for name in baselines]
    lines = [
        "| | how it chooses | accuracy | 95 % by prompts | 95 % Wilson | pairs | ties |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for name, how, accuracy in rows:
        by_prompts, wilson = accuracy.bootstrap, accuracy.wilson
        lines.append(
            f"| {name} | {how} | {accuracy.value:.1%} | {by_prompts.low:.1%} – "
            f"{by_prompts.high:.1%} | {wilson.low:.1%} – {wilson.high:.1%} | {accuracy.pairs} | "
            f"{accuracy.ties} |"
        )
    return "\n".join(lines)


def _figures(evaluation: Evaluation) -> str:
    quantiles = ", ".join(f"{q} {v:+.3f}" for q, v in evaluation.margin_quantiles.items())
    return (
        f"Loss {evaluation.loss:.4f} nats a pair (a coin's is 0.6931), "
        f"{evaluation.loss_with_margin:.4f} with the margins of training. Mean reward of chosen "
        f"responses {evaluation.mean_chosen:+.3f}, of rejected ones "
        f"{evaluation.mean_rejected:+.3f}. Reward margins: mean {evaluation.margin_mean:+.3f}, "
        f"standard deviation {evaluation.margin_std:.3f}, quantiles {quantiles}."
    )


def _strengths(evaluation: Evaluation) -> str:
    if not evaluation.by_strength:
        return ""
    lines = ["| strength | accuracy | 95 % by prompts | pairs |", "|---|---:|---:|---:|"]
    for grade, accuracy in evaluation.by_strength.items():
        interval = accuracy.bootstrap
        lines.append(
            f"| {grade.replace('_', ' ')} | {accuracy.value:.1%} | {interval.low:.1%} – "
            f"{interval.high:.1%} | {accuracy.pairs} |"
        )
    return "\n".join(lines)


def safety_table(safety: SafetyFigures | None) -> str:
    """Markdown table by safety bins; empty where no pair has both labels."""
    if safety is None or not safety.bins:
        return ""
    lines = ["| safety of the pair | accuracy | 95 % by prompts | pairs |", "|---|---:|---:|---:|"]
    for name, accuracy in safety.bins.items():
        interval = accuracy.bootstrap
        lines.append(
            f"| {SAFETY_BINS[name]} | {accuracy.value:.1%} | {interval.low:.1%} – "
            f"{interval.high:.1%} | {accuracy.pairs} |"
        )
    half = None if safety.labels is None else safety.labels.at_half
    recall = None if half is None else half.recall_of_bad
    if recall is not None:
        lines.append(f"\nUnsafe responses below score 0.5 (recall): {recall.value:.1%}.")
    return "\n".join(lines)


def _calibration(manifest: RewardModelManifest) -> list[str]:
    """What the manifest says of calibration and τ; nothing where it says nothing."""
    if manifest.calibration is None:
        return []
    lines = [
        f"Calibrated reward = raw / {manifest.temperature:.4g} {manifest.bias:+.4g} "
        f"({manifest.calibration.how})."
    ]
    figures = manifest.metrics.get("calibration", {})
    for part, what in (("pairs", "P(chosen wins)"), ("labels", "P(safe)")):
        before, after = (figures.get(part, {}).get(when) for when in ("before", "after"))
        if before and after:
            lines.append(
                f"Expected calibration error of {what}: {before['ece']:.3f} before, "
                f"{after['ece']:.3f} after, over {after['count']} (a perfect forecast's: "
                f"{after['ece_if_calibrated']:.3f})."
            )
    found = manifest.safety_threshold
    if found is not None:
        precision = "" if found.precision is None else f"precision {found.precision:.1%}, "
        recall = "" if found.recall is None else f"recall {found.recall:.1%}"
        lines.append(
            f"Safety threshold τ = {found.tau:.4f} on the calibrated score: {precision}{recall} of "
            "unsafe responses below it."
        )
    return ["## Calibration", " ".join(lines)]


def _where_the_report_is(manifest: RewardModelManifest) -> str:
    """Where the page was written; it is no part of the checkpoint, as it quotes held-out data."""
    output = manifest.training.get("output")
    if not output or not manifest.training.get("report"):
        return ""
    name = Path(output).name
    return (
        f"The training report, with learning curves, all figures and the worst mistakes to read, "
        f"was written beside this directory: [`{name}.run/report/report.html`]"
        f"(../{name}.run/report/report.html). It quotes held-out data, so it is no part of the "
        "checkpoint."
    )


def _report_without_ids(report: DataReport) -> str:
    return report.to_text(most_ids=0)


_LOAD = (
    "from transformers import AutoModelForSequenceClassification, AutoTokenizer\n\n"
    "tokenizer = AutoTokenizer.from_pretrained(directory)\n"
    "model = AutoModelForSequenceClassification.from_pretrained(directory)\n"
)
_LOAD_ADAPTER = (
    "from peft import AutoPeftModelForSequenceClassification\n"
    "from transformers import AutoTokenizer\n\n"
    "tokenizer = AutoTokenizer.from_pretrained(directory)\n"
    "model = AutoPeftModelForSequenceClassification.from_pretrained(directory, num_labels=1)\n"
    # The base's own may be EOS, before which transformers would read.
    "model.config.pad_token_id = tokenizer.pad_token_id\n"
)


def is_adapter_apart(training: Mapping[str, Any]) -> bool:
    """Whether a checkpoint is an adapter that names its base, by the training configuration."""
    lora = training.get("trainable") in {"lora", "qlora"}
    return lora and not training.get("merge_adapter", True)


def _usage(manifest: RewardModelManifest) -> str:
    position = manifest.position
    if manifest.head == "mean":
        return (
            "Served by `rewardd serve`. A response's reward is the mean of the rewards at its "
            "tokens. Plain transformers loads the weights and reads the last token alone, which is "
            "**not** this model's reward."
        )
    text = (
        "tokenizer.apply_chat_template(messages, tokenize=False)"
        if position.rendering == "chat"
        else "prompt + response"
    )
    if position.eos == "if_absent":
        text += " + tokenizer.eos_token"
    library, load = "transformers", _LOAD
    if is_adapter_apart(manifest.training):
        library, load = "peft", _LOAD_ADAPTER
    return (
        f"Served by `rewardd serve`, or by plain {library}:\n\n"
        f"```python\n{load}"
        f"text = {text}\n"
        "ids = tokenizer(text, add_special_tokens="
        f"{position.rendering != 'chat'}, return_tensors='pt')\n"
        "reward = model(**ids).logits[0, 0]\n"
        "```\n\n"
        f"The position contract in `reward_model.json` says the rest: BOS {position.bos}, EOS "
        f"{position.eos}, read at {position.read}, at most {position.max_length} tokens. A "
        "`text-classification` pipeline applies a sigmoid unless told "
        '`function_to_apply="none"`.'
    )
