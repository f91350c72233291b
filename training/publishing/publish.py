"""Write a trained reward model as a checkpoint, with its reports, card and manifest.

The directory appears whole or not at all: it is written beside its place and then renamed.
"""

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from rm_core.checkpoint.atomic import recover_directory, written_whole
from rm_core.checkpoint.golden import write_golden
from rm_core.checkpoint.heads import head_of
from rm_core.checkpoint.manifest import MANIFEST_NAME, RewardModelManifest, write_manifest
from rm_core.engine.golden import golden_rewards
from rm_core.errors import CheckpointError, ConfigurationError
from training.calibration.calibrate import CalibrationResult
from training.config import TrainingConfig
from training.data.report import DataReport
from training.evaluation import Accuracy, Figures
from training.modeling.reward_model import TrainableModel, quiet_transformers
from training.modeling.trainable import save_adapter
from training.publishing.model_card import model_card
from training.publishing.report.plots.drawing import Plot

DATA_REPORT_NAME = "data_report.json"


def check_output(output: Path, *, argument: str = "--output") -> None:
    """Refuse an output directory that holds something else than a checkpoint of ours.

    Args:
        output: the directory.
        argument: how the command calls it.

    Raises:
        ConfigurationError: the directory must not be overwritten.
    """
    recover_directory(output)
    if not output.exists():
        return
    if not output.is_dir():
        raise ConfigurationError(f"{output} is a file; choose another {argument}")
    if any(output.iterdir()) and not (output / MANIFEST_NAME).is_file():
        raise ConfigurationError(
            f"{output} is not empty and holds no {MANIFEST_NAME}, so it is left alone; choose "
            f"another {argument}"
        )


def refuse_finished(output: Path, *, argument: str = "--output") -> None:
    """Refuse an output directory that holds a finished model, which nobody asked to replace.

    Args:
        output: the directory.
        argument: how the command calls it.

    Raises:
        ConfigurationError: it does.
    """
    if (output / MANIFEST_NAME).is_file():
        raise ConfigurationError(
            f"{output} holds a finished model; choose another {argument}, or replace it with "
            "--overwrite"
        )


def publish(
    trained: TrainableModel,
    config: TrainingConfig,
    report: DataReport,
    figures: Figures,
    baselines: Mapping[str, Accuracy],
    calibration: CalibrationResult,
    pictures: Mapping[str, Plot] | None = None,
) -> RewardModelManifest:
    """Write weights, tokenizer, reports, card and manifest to `config.output`.

    Returns:
        The manifest as written, with the digest of every file.

    Raises:
        NotSaved: the disk is full or failed; an older checkpoint stands as before.
    """
    output = Path(config.output)
    check_output(output)
    with written_whole(output, advice="make room, and train again with --resume") as partial:
        _write_model(trained, partial, figures)
        if trained.adapter is None:
            write_golden(partial, golden_rewards(trained.model, trained.encoder, config.head))
        _write_json(partial / DATA_REPORT_NAME, report.to_json())
        manifest = calibration.applied_to(_manifest_of(trained, config, report, figures, baselines))
        (partial / "README.md").write_text(
            model_card(manifest, report, figures, baselines, pictures or {}),
            encoding="utf-8",
        )
        for name, picture in (pictures or {}).items():
            (partial / name).parent.mkdir(exist_ok=True)
            (partial / name).write_bytes(picture.png)
        manifest = write_manifest(partial, manifest)
        for path in partial.rglob("*"):
            if path.is_file():  # safetensors makes it private; a server may run as another user
                path.chmod(0o644)
    return manifest


def _manifest_of(
    trained: TrainableModel,
    config: TrainingConfig,
    report: DataReport,
    figures: Figures,
    baselines: Mapping[str, Accuracy],
) -> RewardModelManifest:
    """What the checkpoint says of itself, before calibration and digests."""
    return RewardModelManifest(
        role=config.role,
        position=trained.encoder.contract,
        head=config.head,
        metrics={
            "split": "heldout",
            **figures.to_metrics(),
            "baselines": {name: _accuracy_json(accuracy) for name, accuracy in baselines.items()},
        },
        data={
            "fingerprint": report.fingerprint,
            "records_read": report.records_read,
            "train_pairs": report.splits["train"].pairs,
            "heldout_pairs": report.splits["heldout"].pairs,
            "dropped": {reason: len(ids) for reason, ids in report.dropped.items()},
        },
        base_model=trained.base,
        training={**config.to_json(), "layout": trained.layout},
        versions=versions(),
    )


def _write_model(trained: TrainableModel, directory: Path, figures: Figures) -> None:
    trained.tokenizer.save_pretrained(directory)
    if trained.adapter is not None:
        save_adapter(trained.adapter, trained, directory)
        return
    # OpenRLHF reads mean and std from the config, so they stand there under its names.
    trained.model.config.mean = figures.reward_mean
    trained.model.config.std = figures.reward_std
    with quiet_transformers():
        trained.model.save_pretrained(directory)
    path = directory / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    # transformers derives it from id2label and leaves it out; other readers look for the word.
    config["num_labels"] = 1
    _write_json(path, config)
    _check_saved_head(trained.model, directory)


def _check_saved_head(model: Any, directory: Path) -> None:
    """The head must be in the file and be the trained one: its loss shows only in the rewards.

    Raises:
        CheckpointError: it is not.
    """
    head = head_of(model)
    (name,) = (name for name, module in model.named_modules() if module is head)
    key = f"{name}.weight"
    for path in sorted(directory.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            if key in file.keys():  # noqa: SIM118 - no mapping
                if torch.equal(file.get_tensor(key), head.weight.detach().cpu()):
                    return
                raise CheckpointError(f"{key} in {path} is not the trained head; this is a bug")
    raise CheckpointError(f"{directory} was saved without {key}; this is a bug")


def _accuracy_json(accuracy: Accuracy) -> dict[str, Any]:
    return {
        "value": accuracy.value,
        "pairs": accuracy.pairs,
        "ties": accuracy.ties,
        "wilson": [accuracy.wilson.low, accuracy.wilson.high],
        "bootstrap": [accuracy.bootstrap.low, accuracy.bootstrap.high],
    }


def versions() -> dict[str, str]:
    """Versions of what trains and saves a model, by library."""
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
