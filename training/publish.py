"""Writes a trained reward model as the checkpoint that design.md §8 describes.

The directory appears whole or not at all: it is written beside its place and then renamed.
"""

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from rm_core.errors import ConfigurationError
from rm_core.manifest import MANIFEST_NAME, RewardModelManifest, write_manifest
from rm_core.types import Baseline
from training.config import TrainingConfig
from training.data_report import DataReport
from training.durable import recover_directory, written_whole
from training.evaluation import Accuracy, Evaluation
from training.model_card import model_card
from training.models import UntrainedRewardModel, quiet_transformers

DATA_REPORT_NAME = "data_report.json"


def check_output(output: Path) -> None:
    """Refuse an output directory that holds something else than a checkpoint of ours.

    Raises:
        ConfigurationError: the directory must not be overwritten.
    """
    recover_directory(output)
    if not output.exists():
        return
    if not output.is_dir():
        raise ConfigurationError(f"{output} is a file; choose another --output")
    if any(output.iterdir()) and not (output / MANIFEST_NAME).is_file():
        raise ConfigurationError(
            f"{output} is not empty and holds no {MANIFEST_NAME}, so it is left alone; choose "
            "another --output"
        )


def publish(
    trained: UntrainedRewardModel,
    config: TrainingConfig,
    report: DataReport,
    evaluation: Evaluation,
    baselines: dict[str, Accuracy],
) -> RewardModelManifest:
    """Write weights, tokenizer, reports, card and manifest to `config.output`.

    Args:
        trained: the model after training.
        config: how it was trained.
        report: on what.
        evaluation: figures on the held-out split.
        baselines: held-out accuracies of the baselines.

    Returns:
        The manifest as written, with the digest of every file.

    Raises:
        NotSaved: the disk is full or failed; an older checkpoint stands as before.
    """
    output = Path(config.output)
    check_output(output)
    with written_whole(output, advice="make room, and train again with --resume") as partial:
        _write_model(trained, partial, evaluation)
        _write_json(partial / DATA_REPORT_NAME, report.to_json())
        metrics = {
            "split": "heldout",
            **evaluation.to_json(),
            "baselines": {name: _accuracy_json(accuracy) for name, accuracy in baselines.items()},
        }
        manifest = RewardModelManifest(
            role=config.role,
            position=trained.encoder.contract,
            baseline=_baseline(evaluation, config),
            baseline_source=(
                f"raw rewards of the {evaluation.responses} held-out responses; they were not "
                "sampled from a policy, so the weight is kept small"
            ),
            metrics=metrics,
            data={
                "fingerprint": report.fingerprint,
                "records_read": report.records_read,
                "train_pairs": report.splits["train"].pairs,
                "heldout_pairs": report.splits["heldout"].pairs,
                "dropped": {reason: len(ids) for reason, ids in report.dropped.items()},
            },
            base_model=trained.base,
            training=config.to_json(),
            versions=_versions(),
        )
        (partial / "README.md").write_text(
            model_card(manifest, report, evaluation, baselines), encoding="utf-8"
        )
        manifest = write_manifest(partial, manifest)
        for path in partial.iterdir():
            path.chmod(0o644)  # safetensors makes it private, and a server may run as another user
    return manifest


def _write_model(trained: UntrainedRewardModel, directory: Path, evaluation: Evaluation) -> None:
    # OpenRLHF reads mean and std from the config, so they stand there under its names.
    trained.model.config.mean = evaluation.reward_mean
    trained.model.config.std = evaluation.reward_std
    with quiet_transformers():
        trained.model.save_pretrained(directory)
    trained.tokenizer.save_pretrained(directory)
    path = directory / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    # transformers derives it from id2label and leaves it out; other readers look for the word.
    config["num_labels"] = 1
    _write_json(path, config)


def _baseline(evaluation: Evaluation, config: TrainingConfig) -> Baseline | None:
    if not evaluation.reward_std > 0:
        return None
    weight = min(config.baseline_weight, float(evaluation.responses))
    return Baseline(evaluation.reward_mean, evaluation.reward_std, weight)


def _accuracy_json(accuracy: Accuracy) -> dict[str, Any]:
    return {
        "value": accuracy.value,
        "pairs": accuracy.pairs,
        "ties": accuracy.ties,
        "wilson": [accuracy.wilson.low, accuracy.wilson.high],
        "bootstrap": [accuracy.bootstrap.low, accuracy.bootstrap.high],
    }


def _versions() -> dict[str, str]:
    names = ("rewardd", "transformers", "tokenizers", "safetensors", "accelerate")
    installed = {name: _version(name) for name in names}
    return {"python": platform.python_version(), "torch": torch.__version__, **installed}


def _version(name: str) -> str:
    try:
        return version(name)
    except ImportError:
        return "not installed"


def _write_json(path: Path, value: Any) -> None:
    path.write_text(
        json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
    )
