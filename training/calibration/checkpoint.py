"""Calibrates a checkpoint that stands already: one of ours, or a plain transformers reward model.

Only `reward_model.json` is written, whole or not at all. Weights, tokenizer and card stay as they
are, and so do raw rewards.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from rm_core.checkpoint.manifest import (
    MANIFEST_NAME,
    RewardModelManifest,
    read_manifest,
    write_manifest,
)
from rm_core.engine import DType, EngineOptions, load_engine
from rm_core.errors import ConfigurationError, NotSaved, WrongRole
from rm_core.text.contract import PositionContract
from rm_core.types import Role, Truncation
from training.calibration.calibrate import (
    CalibrationOptions,
    CalibrationResult,
    calibrate_rewards,
)
from training.calibration.observations import Observations, observations_of
from training.calibration.readers import Reader, served_reader
from training.calibration.references import read_references, reference_rewards
from training.data.filters import filtered_examples
from training.data.formats import read_records
from training.data.formats.options import FormatOptions
from training.data.prepare import assign_splits
from training.data.records import PreferenceRecord
from training.errors import DataError
from training.evaluation.scorer import Reading, Refusal, candidates_of
from training.modeling.token_decoder import BaseDecoder
from training.progress import Progress, SilentProgress

CalibrationSplit = Literal["heldout", "all"]

_DEFAULT_BASELINE_WEIGHT = 32.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRequest:
    """What to calibrate, and on what.

    Attributes:
        checkpoint: its directory.
        data: files, folders or hub names of scored responses.
        options: what for.
        split: "heldout" takes the records that the checkpoint's own training held out, "all" every
            record, which the model must not have seen; None: "heldout" for a checkpoint of ours.
        reference: files of a reference policy's responses; none: the scored ones stand in.
        format: read every file of `data` as this format; None: detect it.
        device: where the model runs.
        dtype: of the trunk; as it will be served.
        truncate: what to do with a text that is too long.
        write: False shows what would be written.
    """

    checkpoint: Path
    data: tuple[str, ...]
    options: CalibrationOptions
    split: CalibrationSplit | None = None
    reference: tuple[str, ...] = ()
    format: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    truncate: Truncation = "error"
    write: bool = True


def checkpoint_role(checkpoint: Path, given: Role | None) -> Role:
    """The role of a checkpoint: its manifest's, or the one given where it has none.

    Raises:
        ConfigurationError: no such directory, or a role must be given.
        WrongRole: the manifest says another one.
    """
    if not checkpoint.is_dir():
        raise ConfigurationError(
            f"{checkpoint} is no directory here; download a model of the hub first, as "
            f"{MANIFEST_NAME} is written beside its weights"
        )
    manifest = read_manifest(checkpoint)
    if manifest is None:
        if given is None:
            raise ConfigurationError(
                f"{checkpoint} has no {MANIFEST_NAME} to say its role; give --role safety or "
                "--role helpfulness"
            )
        return given
    if given not in {None, manifest.role}:
        raise WrongRole(f"{checkpoint} is a {manifest.role} reward model; leave --role out")
    return manifest.role


def calibrate_checkpoint(
    request: CheckpointRequest, *, progress: Progress | None = None
) -> CalibrationResult:
    """Score the data with the checkpoint, calibrate, and write its `reward_model.json`.

    Raises:
        RewardError: data or checkpoint can't be used; nothing is written then.
    """
    progress = progress or SilentProgress()
    directory, role = request.checkpoint, request.options.role
    if request.write and not os.access(directory, os.W_OK):
        raise ConfigurationError(f"{directory} can't be written to; copy it to where it can")
    manifest = read_manifest(directory)
    split = request.split or ("all" if manifest is None or not manifest.training else "heldout")
    # PKU-SafeRLHF's rows hold a preference for each role.
    asked = FormatOptions(role=role, decode=BaseDecoder(str(directory)))
    read = read_records(list(request.data), format_name=request.format, options=asked)
    records = _on_side(read.records, split, manifest)
    references = read_references(request.reference)
    progress.say(f"scoring {sum(len(record.responses) for record in records)} responses")
    engine = load_engine(
        {role: str(directory)},
        EngineOptions(dtype=cast("DType", request.dtype)),
        device=request.device,
    )
    try:
        reader = served_reader(engine, role, truncate=request.truncate)
        observations = _observed(records, reader)
        given = reference_rewards(references, request.reference, reader) if references else None
        contract = PositionContract.from_json(engine.describe()[role]["position"])
    finally:
        engine.close()
    options = replace(request.options, data=f"{', '.join(request.data)} ({split})")
    result = calibrate_rewards(observations, options, references=given)
    if request.write:
        found = manifest or RewardModelManifest(role=role, position=contract)
        try:
            write_manifest(directory, result.applied_to(found))
            (directory / MANIFEST_NAME).chmod(0o644)  # a server may run as another user
        except OSError as error:
            raise NotSaved(
                f"{directory / MANIFEST_NAME} could not be written ({error}) and is as before; "
                "make room and calibrate again"
            ) from error
    return result


def baseline_weight_of(checkpoint: Path) -> float:
    """N₀ of the checkpoint's training, or the default."""
    manifest = read_manifest(checkpoint)
    training: dict[str, Any] = {} if manifest is None else manifest.training
    return float(training.get("baseline_weight", _DEFAULT_BASELINE_WEIGHT))


def _on_side(
    records: Sequence[PreferenceRecord],
    split: CalibrationSplit,
    manifest: RewardModelManifest | None,
) -> Sequence[PreferenceRecord]:
    if split == "all":
        return records
    training: dict[str, Any] = {} if manifest is None else manifest.training
    held = assign_splits(
        records,
        fraction=float(training.get("heldout_fraction", 0.1)),
        seed=int(training.get("split_seed", 0)),
    )["heldout"]
    if not held:
        raise DataError(
            "no record falls on the held-out side; give --split all if the model has not been "
            "trained on this data"
        )
    return held


def _observed(records: Sequence[PreferenceRecord], read: Reader) -> Observations:
    """Raw rewards of what the model can read."""
    examples = filtered_examples(records).examples
    readings = read([one for example in examples for one in candidates_of(example)])
    refused = Counter(r.reason for r in readings if isinstance(r, Refusal))
    remaining = iter(readings)
    kept, rewards = [], []
    for example in examples:
        own = [next(remaining) for _ in example.responses]
        readable = [(i, r.reward) for i, r in enumerate(own) if isinstance(r, Reading)]
        if readable:
            kept.append(example.only([index for index, _ in readable]))
            rewards.append([reward for _, reward in readable])
    if not kept:
        why = ", ".join(f"{count} × {reason}" for reason, count in refused.items())
        raise DataError(f"no response can be scored: {why or 'the data hold none'}")
    observations = observations_of(kept, rewards)
    if not np.isfinite(observations.rewards).all():
        raise DataError("the model gives rewards that are not finite; try --dtype float32")
    return observations
