"""One training by one trainer, in a process of its own, and what it tells of itself."""

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtest.bench.training.prepared import Prepared, run_to_end
from loadtest.bench.training.settings import RECIPE, TrainingSettings
from loadtest.errors import LoadTestError
from loadtest.report import write_json, write_text

WORKER = Path(__file__).parent / "trl_worker.py"
FIGURES = ("seconds", "sequence_tokens", "computed_tokens", "peak_bytes")
"""Of the training loop; of all texts before sharing; that the model ran over; of the process."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a trainer told of its run; `texts` are digests of token ids, where it tells them."""

    checkpoint: Path
    figures: Mapping[str, Any]
    update_seconds: tuple[float, ...]
    pairs: int
    texts: tuple[str, ...]
    versions: Mapping[str, str]


def train(trainer: str, prepared: Prepared, seed: int, settings: TrainingSettings) -> Trained:
    """Train once, the data in an order by the seed.

    Raises:
        PeerError: the trainer ended in an error; its last words are in the message.
        LoadTestError: there is no Python with TRL.
    """
    output = settings.place / prepared.workload.name / f"{trainer}-{seed}"
    for leftover in (output, _beside(output, "run")):
        shutil.rmtree(leftover, ignore_errors=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    if trainer in {"ours", "padded"}:
        told = _ours(prepared, seed, output, settings, packing=trainer == "ours")
    else:
        told = _trl(prepared, seed, output, settings, grouped=trainer == "trl-grouped")
    return Trained(
        output,
        {name: told[name] or 0 for name in FIGURES},
        tuple(told["update_seconds"]),
        told["pairs"],
        tuple(told["texts"]),
        told["versions"],
    )


def _ours(
    prepared: Prepared, seed: int, output: Path, settings: TrainingSettings, *, packing: bool
) -> dict[str, Any]:
    file = _beside(output, "toml")
    write_text(file, to_toml(our_settings(prepared, seed, output, packing=packing)))
    command = [sys.executable, "-m", "rewardd", "train", "--config", str(file)]
    run_to_end(command, f"rewardd train ({output.name})", _variables(settings))
    manifest = json.loads((output / "reward_model.json").read_text("utf-8"))
    layout = manifest["training"]["layout"]
    if packing and layout["name"] != "packed":
        raise LoadTestError(f"rewardd train did not pack: {layout['reason']}")
    pace = json.loads((_beside(output, "run") / "pace.json").read_text("utf-8"))
    pairs = manifest["data"]["train_pairs"]
    return {**pace, "pairs": pairs, "texts": (), "versions": manifest["versions"]}


def _trl(
    prepared: Prepared, seed: int, output: Path, settings: TrainingSettings, *, grouped: bool
) -> dict[str, Any]:
    if settings.trl_python is None:
        raise LoadTestError("TRL needs a Python that has it; give --trl-python")
    result, file = _beside(output, "result.json"), _beside(output, "job.json")
    job = trl_job(prepared, settings.threads, seed, output, grouped=grouped)
    write_json(file, {**job, "result": str(result)})
    result.unlink(missing_ok=True)
    # -P: the worker's neighbours are modules of ours, and none of theirs.
    command = [str(settings.trl_python), "-P", str(WORKER), str(file)]
    run_to_end(command, f"TRL ({output.name})", _variables(settings))
    told: dict[str, Any] = json.loads(result.read_text("utf-8"))
    return told


def _beside(output: Path, ending: str) -> Path:
    return output.with_name(f"{output.name}.{ending}")


def _variables(settings: TrainingSettings) -> list[str]:
    threads = f"OMP_NUM_THREADS={settings.threads}"
    return [threads, "HF_HUB_OFFLINE=1", "TOKENIZERS_PARALLELISM=false"]


def our_settings(prepared: Prepared, seed: int, output: Path, *, packing: bool) -> dict[str, Any]:
    """The recipe as `rewardd train` takes it."""
    workload = prepared.workload
    return {
        **RECIPE,
        "role": workload.role,
        "data": [str(prepared.rankings_file.resolve())],
        "base": str(prepared.model.resolve()),
        "output": str(output.resolve()),
        "objective": workload.objective,
        "margins": "none",
        "max_length": workload.limits.max_length,
        "batch_size": workload.batch,
        "gradient_accumulation": 1,
        "epochs": 1.0,
        "warmup_ratio": 0.0,
        "min_warmup_steps": prepared.warmup,
        "precision": "fp32",
        "packing": packing,
        "calibration": "none",
        "report": False,
        "seed": seed,
    }


def trl_job(
    prepared: Prepared, threads: int, seed: int, output: Path, *, grouped: bool
) -> dict[str, Any]:
    """The same recipe as the worker takes it: as many updates, of pairs."""
    return {
        "model": str(prepared.model.resolve()),
        "data": str(prepared.pairs_file.resolve()),
        "output": str(output.resolve()),
        "recipe": RECIPE,
        "batch": prepared.pairs_batch,
        "warmup": prepared.warmup,
        "max_length": prepared.workload.limits.max_length,
        "seed": seed,
        "threads": threads,
        "grouped": grouped,
    }


def to_toml(values: Mapping[str, Any]) -> str:
    """Flat settings as TOML; JSON's strings, numbers, booleans and lists are TOML's too."""
    return "\n".join(f"{name} = {json.dumps(value)}" for name, value in values.items())
