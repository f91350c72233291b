"""One training by one trainer, in a process of its own, and what it tells of itself."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from loadtest.bench.training.prepared import Prepared
from loadtest.bench.training.settings import Schedule, Settings
from loadtest.errors import LoadTestError, PeerError
from loadtest.report import write_json, write_text

WORKER = Path(__file__).parent / "trl_worker.py"
_TAIL = 2000


@dataclass(frozen=True, slots=True)
class Trained:
    """What a trainer told of its run.

    Attributes:
        checkpoint: what it made.
        seconds: of the training loop.
        update_seconds: of each update, loading its batch included.
        sequence_tokens: of every text that it was given, before sharing.
        computed_tokens: that the model ran over.
        peak_bytes: the most memory of its process until the loop's end.
        pairs: that it trained on.
        texts: digests of the token ids of its texts, where it tells them.
        versions: of what it ran on.
    """

    checkpoint: Path
    seconds: float
    update_seconds: tuple[float, ...]
    sequence_tokens: int
    computed_tokens: int
    peak_bytes: int
    pairs: int
    texts: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrainerRuns:
    """Starts trainers.

    Attributes:
        settings: of all of them.
        directory: what they make goes here.
        trl_python: a Python that has TRL; None: TRL is left out.
    """

    settings: Settings
    directory: Path
    trl_python: Path | None = None

    def train(self, trainer: str, prepared: Prepared, seed: int) -> Trained:
        """Train once, with the trainer's trainer.

        Args:
            trainer: one of `TRAINERS`.
            prepared: on what, from what.
            seed: of the data's order.

        Raises:
            PeerError: the trainer ended in an error; its last words are in the message.
            LoadTestError: there is no Python with TRL.
        """
        output = self.directory / prepared.workload.name / f"{trainer}-{seed}"
        for leftover in (output, output.with_name(f"{output.name}.run")):
            shutil.rmtree(leftover, ignore_errors=True)
        output.parent.mkdir(parents=True, exist_ok=True)
        if trainer in {"ours", "padded"}:
            return self._ours(prepared, seed, output, packing=trainer == "ours")
        return self._trl(prepared, seed, output, grouped=trainer == "trl-grouped")

    def _ours(self, prepared: Prepared, seed: int, output: Path, *, packing: bool) -> Trained:
        file = output.with_name(f"{output.name}.toml")
        write_text(file, to_toml(our_settings(prepared, self.settings, seed, output, packing)))
        command = [sys.executable, "-m", "rewardd", "train", "--config", str(file)]
        self._run(command, f"rewardd train ({output.name})")
        manifest = json.loads((output / "reward_model.json").read_text("utf-8"))
        layout = manifest["training"]["layout"]
        if packing and layout["name"] != "packed":
            raise LoadTestError(f"rewardd train did not pack: {layout['reason']}")
        pace = json.loads((output.with_name(f"{output.name}.run") / "pace.json").read_text("utf-8"))
        return Trained(
            output,
            pace["seconds"],
            tuple(pace["update_seconds"]),
            pace["sequence_tokens"],
            pace["computed_tokens"],
            pace["peak_bytes"] or 0,
            manifest["data"]["train_pairs"],
            versions=manifest["versions"],
        )

    def _trl(self, prepared: Prepared, seed: int, output: Path, *, grouped: bool) -> Trained:
        if self.trl_python is None:
            raise LoadTestError("TRL needs a Python that has it; give --trl-python")
        result = output.with_name(f"{output.name}.result.json")
        job = trl_job(prepared, self.settings, seed, output, grouped=grouped)
        file = output.with_name(f"{output.name}.job.json")
        write_json(file, {**job, "result": str(result)})
        result.unlink(missing_ok=True)
        # -P: the worker's neighbours are modules of ours, and none of theirs.
        self._run([str(self.trl_python), "-P", str(WORKER), str(file)], f"TRL ({output.name})")
        told = json.loads(result.read_text("utf-8"))
        return Trained(
            output,
            **{**told, **{name: tuple(told[name]) for name in ("update_seconds", "texts")}},
        )

    def _run(self, command: Sequence[str], name: str) -> None:
        variables = (
            f"OMP_NUM_THREADS={self.settings.threads}",
            "HF_HUB_OFFLINE=1",
            "TOKENIZERS_PARALLELISM=false",
        )
        found = subprocess.run(  # noqa: S603 - no shell
            ["env", *variables, *command],  # noqa: S607 - env, wherever it lies
            capture_output=True,
            text=True,
            check=False,
        )
        if found.returncode != 0:
            raise PeerError(f"{name} ended with {found.returncode}: {found.stderr[-_TAIL:]}")


def our_settings(
    prepared: Prepared, settings: Settings, seed: int, output: Path, packing: bool
) -> dict[str, Any]:
    """The recipe as `rewardd train` takes it."""
    workload, recipe = prepared.workload, settings.recipe
    return {
        **asdict(recipe),
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
        "min_warmup_steps": schedule_of(prepared).warmup,
        "precision": "fp32",
        "packing": packing,
        "calibration": "none",
        "report": False,
        "seed": seed,
    }


def trl_job(
    prepared: Prepared, settings: Settings, seed: int, output: Path, *, grouped: bool
) -> dict[str, Any]:
    """The same recipe as the worker takes it: as many updates, of pairs."""
    schedule = schedule_of(prepared)
    return {
        "model": str(prepared.model.resolve()),
        "data": str(prepared.pairs_file.resolve()),
        "output": str(output.resolve()),
        "recipe": asdict(settings.recipe),
        "batch": schedule.pairs_batch,
        "warmup": schedule.warmup,
        "max_length": prepared.workload.limits.max_length,
        "seed": seed,
        "threads": settings.threads,
        "grouped": grouped,
    }


def schedule_of(prepared: Prepared) -> Schedule:
    """Updates of an epoch over the workload's train side."""
    return Schedule.of(len(prepared.train), prepared.num_pairs, prepared.workload.batch)


def to_toml(values: Mapping[str, Any]) -> str:
    """Flat settings as TOML; JSON's strings, numbers, booleans and lists are TOML's too."""
    return "\n".join(f"{name} = {json.dumps(value)}" for name, value in values.items())
