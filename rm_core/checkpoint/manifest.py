"""`reward_model.json`: what a checkpoint says of itself beside the weights (design.md §8)."""

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Literal, get_args

from rm_core.checkpoint.regular_files import opened, read_small, refuse_outside
from rm_core.checkpoint.source import refuse_absurd
from rm_core.errors import DigestMismatch, InvalidManifest, UnsafeCheckpoint
from rm_core.text.contract import PositionContract
from rm_core.types import (
    ROLES,
    Baseline,
    CalibrationFit,
    ReferenceQuantiles,
    Role,
    SafetyThreshold,
)

MANIFEST_NAME = "reward_model.json"
FORMAT_VERSION = 1
_PARTIAL_NAME = f".{MANIFEST_NAME}.partial"

HeadKind = Literal["last_token", "mean", "per_token"]
"""Where a response's reward is read: at the read position; as the mean of the rewards of all the
response's tokens; or at the read position of a head that was trained on other tokens too. The
head's weights are the same thing in all."""


@dataclass(frozen=True, slots=True)
class LabelManifest:
    """What is said of one label of a checkpoint with several.

    Attributes:
        temperature: calibrated reward = raw / temperature + bias.
        bias: see temperature.
    """

    temperature: float = 1.0
    bias: float = 0.0


@dataclass(frozen=True, slots=True)
class RewardModelManifest:
    """The content of reward_model.json.

    Attributes:
        role: which reward model this is.
        position: how it wants its text and where its head reads.
        head: which hidden states the head was trained to read.
        temperature: calibrated reward = raw / temperature + bias.
        bias: see temperature.
        calibration: how temperature and bias were found; None where nobody said.
        baseline: mean, std and weight n₀ of calibrated rewards on reference responses.
        baseline_source: which responses the baseline and the quantiles are of.
        reference_quantiles: of calibrated rewards on the same responses.
        safety_threshold: the model's own τ, where one was found.
        metrics: figures on held-out data, as the trainer wrote them.
        data: fingerprint and counts of the training data.
        base_model: what it was initialised from.
        training: the resolved training configuration.
        versions: library versions at training time.
        files: sha256 of every other file of the checkpoint, by name, hex.
        layer: after how many of its layers it is read, before the final norm; None: after all.
        labels: of a checkpoint with several outputs, each one's name, in order; empty: it has one.
    """

    role: Role
    position: PositionContract
    head: HeadKind = "last_token"
    temperature: float = 1.0
    bias: float = 0.0
    calibration: CalibrationFit | None = None
    baseline: Baseline | None = None
    baseline_source: str | None = None
    reference_quantiles: ReferenceQuantiles | None = None
    safety_threshold: SafetyThreshold | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    base_model: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    layer: int | None = None
    labels: dict[str, LabelManifest] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As JSON values; without layer and labels where there are none, as in older releases."""
        values = {"format_version": FORMAT_VERSION, **asdict(self)}
        for name in ("layer", "labels"):
            if not values[name]:
                del values[name]
        return values

    @classmethod
    def from_json(cls, value: object) -> "RewardModelManifest":
        """Read back what `to_json` wrote.

        Raises:
            InvalidManifest: not an object, of another version, or a field is wrong.
        """
        if not isinstance(value, dict):
            raise InvalidManifest(f"{MANIFEST_NAME} must hold a JSON object")
        fields = dict(value)
        version = fields.pop("format_version", None)
        if version != FORMAT_VERSION:
            raise InvalidManifest(
                f"{MANIFEST_NAME} has format_version {version!r}; this release reads "
                f"{FORMAT_VERSION}"
            )
        if fields.get("role") not in ROLES:
            raise InvalidManifest(f"role must be one of {', '.join(ROLES)}")
        if fields.get("head", "last_token") not in get_args(HeadKind):
            raise InvalidManifest(f"head must be one of {', '.join(get_args(HeadKind))}")
        if not isinstance(fields.get("position"), dict):
            raise InvalidManifest("position must be an object")
        fields["position"] = PositionContract.from_json(fields["position"])
        try:
            for name, read in _PARTS.items():
                if fields.get(name) is not None:
                    fields[name] = read(fields[name])
            manifest = cls(**fields)
            _check_calibration(manifest)
        except (TypeError, ValueError, KeyError) as error:
            raise InvalidManifest(f"{MANIFEST_NAME}: {error}") from error
        return manifest


def _check_calibration(manifest: RewardModelManifest) -> None:
    calibrations: list[RewardModelManifest | LabelManifest] = [manifest, *manifest.labels.values()]
    for own in calibrations:
        refuse_absurd(own.temperature, own.bias)
    layer: object = manifest.layer  # as the file has it
    if layer is not None and (not isinstance(layer, int) or isinstance(layer, bool) or layer < 1):
        raise ValueError("layer must be a whole number from 1")
    if len(manifest.labels) == 1:
        raise ValueError("labels names the outputs where there are several; leave it out for one")


def _labels(value: dict[str, Any]) -> dict[str, LabelManifest]:
    return {str(name): LabelManifest(**own) for name, own in value.items()}


def _baseline(value: dict[str, Any]) -> Baseline:
    baseline = Baseline(**value)
    numbers = (baseline.mean, baseline.std, baseline.weight)
    if not (baseline.std > 0 and baseline.weight >= 0 and all(map(math.isfinite, numbers))):
        raise ValueError("baseline needs finite numbers, std > 0 and weight >= 0")
    return baseline


def _calibration(value: dict[str, Any]) -> CalibrationFit:
    fit = CalibrationFit(**value)
    if fit.method not in {"labels", "pairs", "none"}:
        raise ValueError("calibration.method must be labels, pairs or none")
    return fit


def _quantiles(value: dict[str, Any]) -> ReferenceQuantiles:
    probabilities = tuple(float(p) for p in value["probabilities"])
    values = tuple(float(v) for v in value["values"])
    rises = all(low < high for low, high in pairwise((0.0, *probabilities, 1.0)))
    if len(probabilities) != len(values) or not values or not rises:
        raise ValueError(
            "reference_quantiles needs one value for each of its probabilities, which rise "
            "between 0 and 1"
        )
    if not all(math.isfinite(v) for v in values) or any(a > b for a, b in pairwise(values)):
        raise ValueError("reference_quantiles.values must be finite and must not fall")
    return ReferenceQuantiles(probabilities, values, int(value["responses"]))


def _threshold(value: dict[str, Any]) -> SafetyThreshold:
    fields: dict[str, Any] = {
        key: tuple(inner) if key.endswith("_interval") and inner is not None else inner
        for key, inner in value.items()
    }
    threshold = SafetyThreshold(**fields)
    if not 0 < threshold.tau < 1:
        raise ValueError("safety_threshold.tau must lie between 0 and 1")
    return threshold


_PARTS: Mapping[str, Callable[[dict[str, Any]], object]] = {
    "labels": _labels,
    "baseline": _baseline,
    "calibration": _calibration,
    "reference_quantiles": _quantiles,
    "safety_threshold": _threshold,
}


def write_manifest(directory: Path, manifest: RewardModelManifest) -> RewardModelManifest:
    """Write reward_model.json, with the sha256 of every other file in the directory.

    Hidden files and what lies in hidden folders (a download's `.cache`) are no part of the
    checkpoint. Call it last, when nothing in the directory will change any more. The file is
    replaced whole: whoever reads meanwhile, or after a crash, finds the old one or the new one.

    Returns:
        The manifest with `files` filled in.
    """
    partial = directory / _PARTIAL_NAME
    files = {
        path.relative_to(directory).as_posix(): file_digest(path)
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != MANIFEST_NAME and not _is_hidden(path, directory)
    }
    value = _strict({**manifest.to_json(), "files": files})
    written = RewardModelManifest.from_json(value)
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(directory / MANIFEST_NAME)
    finally:
        partial.unlink(missing_ok=True)  # room on a full disk
    return written


def _is_hidden(path: Path, directory: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(directory).parts)


def _strict(value: Any) -> Any:
    """The value with null for numbers that JSON has no word for, as metrics may hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _strict(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(inner) for inner in value]
    return value


def read_manifest(directory: Path) -> RewardModelManifest | None:
    """Read reward_model.json; None where the checkpoint has none, as foreign ones don't.

    Raises:
        InvalidManifest: the file is there and can't be used.
    """
    path = directory / MANIFEST_NAME
    if not path.is_file():
        return None
    try:
        value = json.loads(read_small(path).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidManifest(f"{path} is not readable JSON: {error}") from error
    return RewardModelManifest.from_json(value)


def verify_files(
    directory: Path,
    manifest: RewardModelManifest,
    known: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Compare every file that the manifest names with its digest.

    Args:
        directory: of the checkpoint.
        manifest: what it says of itself.
        known: digests of files that were read already, by name.

    Raises:
        UnsafeCheckpoint: a file that it names is not in the directory, or no regular file.
        DigestMismatch: a file is missing or differs, or a weight, tokenizer or config file is there
            that the manifest does not know.
    """
    for name, expected in manifest.files.items():
        found = known.get(name) or _digest_within(directory, name)
        if found != expected:
            raise DigestMismatch(
                f"{directory / name} has sha256 {found[:12]}…, {MANIFEST_NAME} says "
                f"{str(expected)[:12]}…; fetch the checkpoint again, or train it again"
            )
    for path in directory.iterdir():
        if path.suffix in {".json", ".safetensors", ".jinja"} and path.name not in {
            *manifest.files,
            MANIFEST_NAME,
        }:
            raise DigestMismatch(
                f"{path} is not in {MANIFEST_NAME}; remove it, or write the manifest again"
            )


def _digest_within(directory: Path, name: str) -> str:
    """The digest of a file that a manifest names, which may be in its own directory alone."""
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts or "\0" in name:
        raise UnsafeCheckpoint(
            f"{MANIFEST_NAME} names {name!r} among its files, which is not in {directory}; it was "
            "not opened. Fetch the checkpoint again from whom you trust"
        )
    path = directory / name
    if not path.exists():
        raise DigestMismatch(f"{name} is in {MANIFEST_NAME} but not in {directory}")
    refuse_outside(path, directory)
    return file_digest(path)


def file_digest(path: Path) -> str:
    """The sha256 of a file's bytes, hex.

    Raises:
        UnsafeCheckpoint: it is no regular file.
    """
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
