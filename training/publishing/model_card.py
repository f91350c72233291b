"""The model card, README.md of a checkpoint: figures beside baselines, use, limits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rm_core.checkpoint.manifest import RewardModelManifest
from training.data.report import DataReport
from training.evaluation import Accuracy, Figures
from training.evaluation.rendering import markdown_table
from training.evaluation.tables.heldout import accuracy_table, pairs_table, sentences
from training.evaluation.tables.scorers import safety_tables, strength_tables
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
    figures: Figures,
    baselines: Mapping[str, Accuracy],
    pictures: Mapping[str, Plot] | None = None,
) -> str:
    """The card as Markdown; `pictures` stand there by their paths in the checkpoint."""
    sections = [
        _FRONT_MATTER + f"# {manifest.role.capitalize()} reward model",
        f"Gives one real number, the reward, to a response in the light of its prompt; higher is "
        f"{'safer' if manifest.role == 'safety' else 'more helpful'}. Initialised from "
        f"`{manifest.base_model.get('name')}`, trained with rewardd.",
        "## Held-out figures",
        *_of_pairs(figures, baselines),
        " ".join(sentences(figures)),
        *(f"![{plot.alt}]({path})" for path, plot in (pictures or {}).items()),
        *_calibration(manifest),
        _where_the_report_is(manifest),
        "## Data",
        f"```text\n{report.to_text(most_ids=0)}\n```",
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


def _of_pairs(figures: Figures, baselines: Mapping[str, Accuracy]) -> list[str]:
    accuracy, pairs = accuracy_table(figures, baselines), pairs_table(figures)
    if accuracy is None or pairs is None:
        return ["No pairs were held out, so that nothing is known of how it orders responses."]
    tables = [accuracy, pairs, *strength_tables([figures]), *safety_tables([figures])]
    return [markdown_table(table, level=3) for table in tables]


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
