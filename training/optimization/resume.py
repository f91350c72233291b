"""Which resumable checkpoint a run goes on from: a whole one, of the same run.

A checkpoint counts as whole by its marker, `resume.json`, which is written last and holds the size
and sha256 of every other file. The marker also says what the run was: its configuration, its data,
its base. A run that differs in any of them would end in weights that no uninterrupted run has.
"""

import hashlib
import json
import platform
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from rm_core.checkpoint.atomic import replace_directory
from rm_core.errors import ConfigurationError
from training.config import TrainingConfig
from training.data.examples import EncodedExample
from training.data.prepare import fingerprint

MARKER_NAME = "resume.json"

_NAME = re.compile(r"checkpoint-(\d+)")
# Settings that leave the weights as they are, and names whose content is compared instead.
_FREE = frozenset(
    {
        "resume",
        "overwrite",
        "output",
        "data",
        "base",
        "max_malformed",
        "save_steps",
        "logging_steps",
        "merge_adapter",
        "calibration",
        "safety_target_precision",
        "reference",
        "baseline_weight",
        "report",
        "report_mistakes",
    }
)

_MACHINE = {
    "processes": "the number of processes",
    "parallel": "the way of training in parallel",
    "bf16": "bfloat16 in the forward pass",
}


class TornCheckpoint(Exception):
    """Raised for a directory that is no whole checkpoint; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """What decides a run's weights.

    Attributes:
        configuration: settings, without those that don't matter to the weights.
        data: fingerprint of the train side.
        base: sha256 over the base model's weights.
        processes: how many train together.
        parallel: in which way, in accelerate's word: "NO", "MULTI_GPU" (DDP), "FSDP" ….
        bf16: whether the forward pass runs in bfloat16.
        surroundings: versions and machine; a difference may show in the last bits.
    """

    configuration: Mapping[str, Any]
    data: str
    base: str
    processes: int
    parallel: str
    bf16: bool
    surroundings: Mapping[str, str]

    def changes_since(self, earlier: Mapping[str, Any]) -> list[str]:
        """What is different now from an earlier identity's JSON, in words."""
        then = dict(earlier.get("configuration", {}))
        now = json.loads(json.dumps(self.configuration))
        changes = [
            f"`{name}` was {_shown(then, name)} and is {_shown(now, name)}"
            for name in sorted({*then, *now})
            if then.get(name) != now.get(name)
        ]
        if earlier.get("data") != self.data:
            changes.append("the training data is not the same (its fingerprint differs)")
        if earlier.get("base") != self.base:
            changes.append("the base model's weights are not the same")
        for name, words in _MACHINE.items():
            if earlier.get(name) != getattr(self, name):
                changes.append(f"{words} was {earlier.get(name)} and is {getattr(self, name)}")
        return changes


def identity_of(
    config: TrainingConfig,
    examples: Sequence[EncodedExample],
    *,
    base: str,
    processes: int,
    parallel: str,
    bf16: bool,
) -> RunIdentity:
    """The identity of the run that is about to start.

    Args:
        config: the recipe.
        examples: the train side.
        base: sha256 over the base's weights.
        processes: how many train together.
        parallel: in which way.
        bf16: whether the forward pass runs in bfloat16.
    """
    settings = {name: value for name, value in config.to_json().items() if name not in _FREE}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return RunIdentity(
        configuration=settings,
        data=fingerprint(examples),
        base=base,
        processes=processes,
        parallel=parallel,
        bf16=bf16,
        surroundings={
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
            "device": device,
        },
    )


def complete_checkpoint(written: Path, place: Path, identity: RunIdentity) -> None:
    """Mark a written checkpoint as whole and move it to its place.

    Args:
        written: directory with everything but the marker, on the same file system as `place`.
        place: `checkpoint-N`; one that stands there is replaced.
        identity: of the run.

    Raises:
        OSError: the disk refused; nothing whole was touched.
    """
    marker = {
        "identity": asdict(identity),
        "files": {
            path.relative_to(written).as_posix(): {
                "bytes": path.stat().st_size,
                "sha256": _digest(path),
            }
            for path in sorted(written.rglob("*"))
            if path.is_file()
        },
    }
    (written / MARKER_NAME).write_text(json.dumps(marker, indent=1), encoding="utf-8")
    replace_directory(written, place)


def check_resumable(run_directory: Path) -> None:
    """Refuse to resume where nothing was ever saved; whether it is whole, is looked at later."""
    if not _checkpoints(run_directory):
        raise ConfigurationError(
            f"nothing to resume in {run_directory}; leave --resume out, or train with "
            "--save-steps so that there is something next time"
        )


def checkpoint_to_resume(
    run_directory: Path, identity: RunIdentity, *, say: Callable[[str], None]
) -> Path:
    """The newest whole checkpoint of this very run.

    Args:
        run_directory: holds `checkpoint-N` directories.
        identity: of the run that wants to go on.
        say: told of every checkpoint passed over, and of the one taken.

    Raises:
        ConfigurationError: there is none; if one is whole but of another run, what changed is
            named.
    """
    check_resumable(run_directory)
    other: tuple[Path, list[str]] | None = None
    for directory in _checkpoints(run_directory):
        try:
            earlier = _verified_identity(directory)
        except TornCheckpoint as torn:
            say(f"{directory.name} is not whole and is passed over: {torn}")
            continue
        changes = identity.changes_since(earlier)
        if not changes:
            _tell(say, directory, identity, earlier)
            return directory
        other = other or (directory, changes)
    if other is not None:
        directory, changes = other
        raise ConfigurationError(
            f"{directory} is of another run: {'; '.join(changes)}. Go back to what was, or start "
            "afresh without --resume"
        )
    raise ConfigurationError(
        f"no checkpoint in {run_directory} is whole; start afresh without --resume"
    )


def keep_newest(run_directory: Path, count: int) -> None:
    """Remove all but the checkpoints that were completed last."""
    # By time, not by number: a longer earlier run in the same directory has higher numbers.
    by_age = sorted(_checkpoints(run_directory), key=_completed_at, reverse=True)
    for directory in by_age[count:]:
        shutil.rmtree(directory, ignore_errors=True)


def _checkpoints(run_directory: Path) -> list[Path]:
    """Those that look like checkpoints, the most advanced first."""
    if not run_directory.is_dir():
        return []
    named = [(_NAME.fullmatch(path.name), path) for path in run_directory.iterdir()]
    steps = [(int(match[1]), path) for match, path in named if match and path.is_dir()]
    return [path for _, path in sorted(steps, reverse=True)]


def _completed_at(directory: Path) -> int:
    marker = directory / MARKER_NAME
    return marker.stat().st_mtime_ns if marker.is_file() else 0


def _verified_identity(directory: Path) -> dict[str, Any]:
    """The identity in the marker, once every file is as the marker says."""
    try:
        marker = json.loads((directory / MARKER_NAME).read_text(encoding="utf-8"))
        identity, files = dict(marker["identity"]), dict(marker["files"])
    except FileNotFoundError:
        raise TornCheckpoint(f"it has no {MARKER_NAME}, which is written last") from None
    except (OSError, ValueError, TypeError, KeyError):
        raise TornCheckpoint(f"its {MARKER_NAME} can't be read") from None
    for name, wanted in files.items():
        path = directory / name
        if not path.is_file():
            raise TornCheckpoint(f"{name} is missing")
        size = path.stat().st_size
        if size != wanted["bytes"]:
            raise TornCheckpoint(f"{name} has {size} of {wanted['bytes']} bytes")
        if _digest(path) != wanted["sha256"]:
            raise TornCheckpoint(f"{name} is damaged")
    return identity


def _tell(
    say: Callable[[str], None],
    directory: Path,
    identity: RunIdentity,
    earlier: Mapping[str, Any],
) -> None:
    say(f"going on from {directory.name}")
    then = earlier.get("surroundings", {})
    for name, now in identity.surroundings.items():
        if then.get(name) != now:
            say(
                f"{name} was {then.get(name)} and is {now}: the weights may differ in their last "
                "bits from those of an uninterrupted run"
            )


def _shown(settings: Mapping[str, Any], name: str) -> str:
    return json.dumps(settings[name], ensure_ascii=False) if name in settings else "not known"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
