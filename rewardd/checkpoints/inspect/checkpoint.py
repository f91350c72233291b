"""Puts the report on a checkpoint together; what is wrong in one part does not hide the others."""

from contextlib import ExitStack
from dataclasses import asdict

from rewardd.checkpoints.convert import deepspeed_chat, value_heads
from rewardd.checkpoints.convert.classifier import HEAD_WEIGHT
from rewardd.checkpoints.convert.layouts import LAYOUTS, recognised
from rewardd.checkpoints.convert.source import (
    Found,
    LayoutName,
    ReadOptions,
    Source,
    architectures_of,
    look,
)
from rewardd.checkpoints.convert.weights import WeightFiles, open_weights
from rewardd.checkpoints.inspect.report import Inspection, TensorFacts
from rewardd.checkpoints.inspect.tensors import check_head, head_facts, weight_facts
from rewardd.checkpoints.inspect.texts import inspect_texts
from rm_core.checkpoint.adapters import HEAD
from rm_core.checkpoint.classifier import HEAD as HEAD_MODULE
from rm_core.checkpoint.classifier import way_on
from rm_core.checkpoint.files import refuse_quantised, resolve_directory
from rm_core.checkpoint.load import load_reward_model
from rm_core.checkpoint.manifest import RewardModelManifest, read_manifest, verify_files
from rm_core.checkpoint.open_files import Caution, OpenFiles
from rm_core.checkpoint.trial import Trial
from rm_core.checkpoint.weights import stored_tensors, stray_files
from rm_core.engine.engine import Engine
from rm_core.engine.golden import refuse_unsound_rewards
from rm_core.errors import MissingHead, UnsafeCheckpoint
from rm_core.types import ROLES
from training.modeling.reward_model import quiet_transformers

KINDS: dict[LayoutName, str] = {
    "rewardd": "reward model of rewardd",
    "transformers": "reward model for plain transformers",
    "llama-factory": "value-head checkpoint of LLaMA-Factory",
    "openrlhf": "reward model of OpenRLHF",
    "trl": "value-head checkpoint of TRL",
    "deepspeed-chat": "reward model of DeepSpeed-Chat",
}
HEAD_NAMES: dict[LayoutName, str] = {
    "llama-factory": value_heads.HEAD_WEIGHT,
    "trl": value_heads.HEAD_WEIGHT,
    "deepspeed-chat": deepspeed_chat.HEAD_WEIGHT,
}
CAUSAL = ("ForCausalLM", "LMHeadModel")
NOT_FOR_THE_SERVER = {"not_finite", "template_changed"}
"""Problems that keep nothing from being loaded, so that what else is wrong is told too."""
SERVED: tuple[LayoutName, ...] = ("rewardd", "transformers")


def inspect_checkpoint(name: str, *, load: bool = True, trial: Trial | None = None) -> Inspection:
    """Look at a checkpoint without changing it; pickles are not opened.

    Args:
        name: a directory, or a hub name.
        load: also load it as the server does and tell the engine's path, and look through every
            tensor; without it only headers and the head are read.
        trial: where it is tried first; what does not get through is looked at no further. None: it
            isn't.

    Raises:
        CheckpointNotFound: there is no such directory, here or on the hub.
    """
    directory = resolve_directory(name)
    inspection = Inspection(name)
    with inspection.problems(), quiet_transformers():
        found = look(name, directory, allow_pickle=False)
        inspection.architecture = next(iter(architectures_of(found.config)), None)
        if trial is not None:
            _try(found, trial)
        with inspection.problems():
            _inspect_weights(found, inspection, finite=load)
        with inspection.problems():
            _inspect_manifest(found, inspection)
        with inspection.problems():
            refuse_quantised(directory / "config.json", dict(found.config or {}))
            with inspection.problems():
                _inspect_reading(found, inspection)
            if load and inspection.layout in SERVED and not _is_damaged(inspection):
                _inspect_serving(found, inspection, trial)
    return inspection


def _try(found: Found, trial: Trial) -> None:
    """Read it in a process of its own before this one does; an adapter's base is tried later.

    Raises:
        CheckpointError: it does not get through.
    """
    model = found.model
    weights = () if model is None or model.pickled or found.adapter is not None else model.paths
    with ExitStack() as stack:
        open_files = OpenFiles(stack, Caution(trial=trial), keep_open=False)
        files = open_files(found.directory, weights)
        links = [files.path / path.name for path in weights]
        open_files.try_all(found.name, files, weights=links)


def _is_damaged(inspection: Inspection) -> bool:
    """Whether loading it would only say in other words what was found already."""
    told = {found.code for found in inspection.findings if found.severity == "problem"}
    return bool(told - NOT_FOR_THE_SERVER)


def _inspect_weights(found: Found, inspection: Inspection, *, finite: bool) -> None:
    files: list[WeightFiles] = []
    for group in (found.model, found.adapter_weights, found.value_head):
        if group is None:
            continue
        if group.pickled:
            inspection.add(
                "problem",
                UnsafeCheckpoint.code,
                f"{', '.join(path.name for path in group.paths[:3])}: pickled weights, which were "
                "not opened; where you trust their maker, `rewardd convert` reads them",
            )
            continue
        files.append(group)
    if not files:
        if found.model is None and found.adapter_weights is None:
            inspection.add("problem", "no_weights", "there are no weights in it")
        return
    opened = [open_weights(group, allow_pickle=False) for group in files]
    inspection.weights = weight_facts(opened, files, finite=finite)
    if inspection.weights.non_finite:
        wrong = inspection.weights.non_finite
        inspection.add(
            "problem",
            "not_finite",
            f"{len(wrong)} tensors hold NaN or infinity: {', '.join(wrong[:5])}",
        )


def _inspect_manifest(found: Found, inspection: Inspection) -> None:
    manifest = read_manifest(found.directory)
    if manifest is None:
        return
    inspection.manifest = _told(manifest)
    inspection.digests = "failed"  # until it holds
    verify_files(found.directory, manifest)
    inspection.digests = "verified"


def _told(manifest: RewardModelManifest) -> dict[str, object]:
    """What the manifest says, without what the report says elsewhere."""
    told = {key: value for key, value in asdict(manifest).items() if value not in ({}, None)}
    for key in ("position", "files"):
        told.pop(key, None)
    return told


def _inspect_reading(found: Found, inspection: Inspection) -> None:
    reasons = recognised(found)
    if len(reasons) != 1:
        _explain(found, reasons, inspection)
        return
    layout = next(known for known in LAYOUTS if known.name in reasons)
    inspection.layout = layout.name
    inspection.kind = KINDS[layout.name]
    if found.adapter is not None:
        inspection.kind += ", a LoRA adapter"
    _describe(layout.read(found, ReadOptions()), inspection)


def _describe(source: Source, inspection: Inspection) -> None:
    if source.lora is not None:
        inspection.base = source.lora.base
        inspection.architecture = next(iter(architectures_of(source.config)), None)
    if source.head is not None:
        own = HEAD if source.lora is not None else HEAD_WEIGHT
        name = HEAD_NAMES.get(source.layout, own)
        if source.head.before:
            name = f"{HEAD_MODULE}, {len(source.head.layers)} layers ({source.head.activation})"
        inspection.head = head_facts(source.head, name)
        check_head(source.head, source.config, inspection)
    if source.layout not in SERVED:
        inspection.add(
            "note",
            "convert_first",
            "rewardd serves it once it is converted: `rewardd convert`",
        )
    inspect_texts(source, inspection)


def _explain(found: Found, reasons: dict[LayoutName, str], inspection: Inspection) -> None:
    """A directory that is no reward model, or of more than one project."""
    if reasons:
        seen = "; ".join(f"{name}, as {reason}" for name, reason in reasons.items())
        inspection.kind = "ambiguous"
        inspection.add("problem", "ambiguous", f"it may be of more than one project: {seen}")
        return
    if any(files is not None and files.pickled for files in (found.model, found.adapter_weights)):
        inspection.kind = "pickled weights, not opened"
        return
    architecture = inspection.architecture or ""
    if found.adapter is not None:
        inspection.kind = "adapter without a reward head"
    elif architecture.endswith(CAUSAL):
        inspection.kind = "causal language model without a reward head"
    elif found.config is None:
        inspection.kind = "no model directory"
    inspection.add("problem", MissingHead.code, _without_head(found))


def _without_head(found: Found) -> str:
    files = found.model
    stored = {} if files is None or files.pickled else stored_tensors(files.paths)
    return f"it has no reward head: {way_on(found.name, found.directory, stored)}"


def _inspect_serving(found: Found, inspection: Inspection, trial: Trial | None) -> None:
    """Load it as the server does: whether that works, and which way it would run."""
    told = inspection.manifest or {}
    role = next((role for role in ROLES if role == told.get("role")), ROLES[0])
    loaded = load_reward_model(found.name, role, caution=Caution(trial=trial))
    left = {entry.name: entry.reason for entry in loaded.accounts if entry.fate == "left over"}
    inspection.tensors = TensorFacts(
        used=len(loaded.accounts) - len(left),
        left_over=left,
        files_not_read=() if found.adapter is not None else stray_files(found.directory),
    )
    for file in inspection.tensors.files_not_read:
        inspection.add(
            "note",
            "file_not_read",
            f"{file} is none of the weights that transformers reads, and rewardd doesn't either",
        )
    engine = Engine({role: loaded})
    refuse_unsound_rewards(engine, {role: loaded})
    described = engine.describe()[role]
    shown = (
        "path",
        "path_reason",
        "max_length",
        "max_length_reason",
        "reads_places",
        "dtype",
        "device",
    )
    inspection.path = {key: described[key] for key in shown}
