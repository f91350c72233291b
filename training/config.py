"""The training configuration: one frozen value from a TOML file and flags, kept in the manifest."""

import difflib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from rm_core.errors import ConfigurationError
from rm_core.types import ROLES, Role, Truncation
from training.losses import OBJECTIVES, MarginTable

Precision = Literal["auto", "fp32", "bf16"]
PairWeighting = Literal["pair", "prompt"]

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "role": ROLES,
    "truncate": get_args(Truncation),
    "objective": tuple(OBJECTIVES),
    "margins": get_args(MarginTable),
    "pair_weighting": get_args(PairWeighting),
    "precision": get_args(Precision),
}
_Range = tuple[Callable[[float], bool], str]
_POSITIVE: _Range = (lambda value: value > 0, "be greater than 0")
_NOT_NEGATIVE: _Range = (lambda value: value >= 0, "not be negative")
_SHARE: _Range = (lambda value: 0 <= value < 1, "be at least 0 and less than 1")
_RANGES: Mapping[str, _Range] = {
    "epochs": _POSITIVE,
    "learning_rate": _POSITIVE,
    "max_length": _POSITIVE,
    "batch_size": _POSITIVE,
    "gradient_accumulation": _POSITIVE,
    "logging_steps": _POSITIVE,
    "adam_epsilon": _POSITIVE,
    "max_grad_norm": _POSITIVE,
    "heldout_fraction": _SHARE,
    "warmup_ratio": _SHARE,
    "adam_beta1": _SHARE,
    "adam_beta2": _SHARE,
    "min_learning_rate_ratio": (lambda value: 0 <= value <= 1, "lie between 0 and 1"),
    "safety_auxiliary_weight": _NOT_NEGATIVE,
    "weight_decay": _NOT_NEGATIVE,
    "save_steps": _NOT_NEGATIVE,
    "min_warmup_steps": _NOT_NEGATIVE,
    "baseline_weight": _NOT_NEGATIVE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How one reward model is trained. The defaults are LLaMA-2's recipe (arXiv 2307.09288 §3.2.2).

    Attributes:
        role: "safety" or "helpfulness".
        data: files or directories of preference data.
        base: the causal LM (or reward model) to start from: a directory or a hub name.
        output: directory that the checkpoint is written to.
        format: read every file as this format; None: detect each file's.
        heldout_fraction: share of prompts held out where records name no split.
        split_seed: changes which prompts those are.
        max_length: most tokens of prompt and response; bounded by the base model's positions.
        truncate: "error" leaves over-long responses out, "prompt" cuts their prompts' left.
        objective: the pairwise loss, a name in `training.losses.OBJECTIVES`.
        margins: "none", "small" or "large": reward units for the grades of strength.
        safety_auxiliary_weight: λ of the safety auxiliary loss on `is_safe`; 0 switches it off.
        pair_weighting: "prompt" lets the K(K−1)/2 pairs of a ranking share the weight of one pair
            (InstructGPT, arXiv 2203.02155 eq. 1); "pair" gives each pair the same weight.
        epochs: passes over the data; more than one overfits, says LLaMA-2.
        learning_rate: the highest one.
        min_learning_rate_ratio: the cosine's end as a share of the highest.
        warmup_ratio: share of the steps in which the rate climbs.
        min_warmup_steps: at least so many, though never more than a tenth of the steps.
        batch_size: prompts in one forward pass.
        gradient_accumulation: forward passes in one update.
        weight_decay: AdamW's.
        adam_beta1: AdamW's.
        adam_beta2: AdamW's.
        adam_epsilon: AdamW's.
        max_grad_norm: gradients are clipped to this norm.
        disable_dropout: train without dropout, so that training and serving compute the same.
        precision: "auto" is bf16 on a GPU that has it and fp32 elsewhere; weights stay fp32.
        gradient_checkpointing: recompute activations to save memory.
        seed: of the head's initialisation and the order of the data.
        save_steps: updates between resumable checkpoints; 0: none.
        logging_steps: updates between log lines.
        resume: go on from the last resumable checkpoint in `output`.
        baseline_weight: n₀, how many samples the reward baseline counts for in a new stream.
    """

    role: Role
    data: tuple[str, ...]
    base: str
    output: str
    format: str | None = None
    heldout_fraction: float = 0.1
    split_seed: int = 0
    max_length: int = 1024
    truncate: Truncation = "error"
    objective: str = "bradley_terry"
    margins: MarginTable = "small"
    safety_auxiliary_weight: float = 0.0
    pair_weighting: PairWeighting = "prompt"
    epochs: float = 1.0
    learning_rate: float = 1e-5
    min_learning_rate_ratio: float = 0.1
    warmup_ratio: float = 0.03
    min_warmup_steps: int = 5
    batch_size: int = 8
    gradient_accumulation: int = 8
    weight_decay: float = 0.1
    adam_beta1: float = 0.9
    adam_beta2: float = 0.95
    adam_epsilon: float = 1e-5
    max_grad_norm: float = 1.0
    disable_dropout: bool = True
    precision: Precision = "auto"
    gradient_checkpointing: bool = False
    seed: int = 0
    save_steps: int = 0
    logging_steps: int = 5
    resume: bool = False
    baseline_weight: float = 32.0

    def __post_init__(self) -> None:
        """Check what can be checked without looking at data or model.

        Raises:
            ConfigurationError: a value is out of range; the field is named.
        """
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ConfigurationError(f"`{name}` must be one of {', '.join(allowed)}")
        for name, (is_in_range, rule) in _RANGES.items():
            if not is_in_range(getattr(self, name)):
                raise ConfigurationError(f"`{name}` must {rule}")
        if not self.data:
            raise ConfigurationError("`data` names no file; give at least one with --data")
        if self.safety_auxiliary_weight and self.role != "safety":
            raise ConfigurationError(
                "`safety_auxiliary_weight` belongs to the safety role; set it to 0"
            )

    def to_json(self) -> dict[str, Any]:
        """As JSON values, for the manifest."""
        return asdict(self)


def load_config(path: Path | None, overrides: Mapping[str, Any]) -> TrainingConfig:
    """A configuration from a TOML file, with flags on top.

    Args:
        path: TOML file with `TrainingConfig`'s fields as keys; None: flags alone.
        overrides: values of flags; None means that the flag was not given.

    Raises:
        ConfigurationError: the file can't be read, a key is unknown or a value is wrong.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text())
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigurationError(f"{path} can't be read as TOML: {error}") from error
    values.update({key: value for key, value in overrides.items() if value is not None})
    known = {f.name: f for f in fields(TrainingConfig)}
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean `{close[0]}`?" if close else ""
            raise ConfigurationError(f"unknown setting `{key}`{hint}")
    if isinstance(values.get("data"), str):
        values["data"] = [values["data"]]
    values["data"] = tuple(str(item) for item in values.get("data", ()))
    missing = [name for name in ("role", "base", "output") if not values.get(name)]
    if missing:
        flags = ", ".join(f"--{name}" for name in missing)
        raise ConfigurationError(f"missing {flags} (or the same keys in the TOML file)")
    return TrainingConfig(**_typed(values))


def _typed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the types that the defaults have; whole numbers may stand for fractions."""
    typed = dict(values)
    for setting in fields(TrainingConfig):
        if setting.name not in typed or not isinstance(setting.default, bool | int | float):
            continue
        value, wanted = typed[setting.name], type(setting.default)
        if wanted is float and type(value) is int:
            typed[setting.name] = float(value)
        elif type(value) is not wanted:
            raise ConfigurationError(f"`{setting.name}` must be of type {wanted.__name__}")
    return typed
