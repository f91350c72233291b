"""The training configuration: one frozen value from a TOML file and flags, kept in the manifest."""

import difflib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

from rm_core.checkpoint.manifest import HeadKind
from rm_core.errors import ConfigurationError
from rm_core.types import ROLES, Role, Truncation
from training.data.formats.writer import written_source
from training.data.mixture import RECIPES, Recipe
from training.losses import (
    DEFAULT_OBJECTIVES,
    Margins,
    MarginTable,
    check_head,
    check_objectives,
    margins_of,
    parse_objectives,
)
from training.types import (
    CALIBRATION_METHODS,
    DEFAULT_TARGET_PRECISION,
    CalibrationMethod,
    PairWeighting,
    Precision,
    Trainable,
)

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "role": ROLES,
    "truncate": get_args(Truncation),
    "head": get_args(HeadKind),
    "pair_weighting": get_args(PairWeighting),
    "precision": get_args(Precision),
    "trainable": get_args(Trainable),
    "calibration": CALIBRATION_METHODS,
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
    "max_pack_tokens": _NOT_NEGATIVE,
    "min_warmup_steps": _NOT_NEGATIVE,
    "safety_target_precision": (lambda value: 0 < value <= 1, "be greater than 0, at most 1"),
    "baseline_weight": _NOT_NEGATIVE,
    "report_mistakes": _NOT_NEGATIVE,
    "seed": (lambda value: 0 <= value < 2**32, "lie between 0 and 4294967295"),
    "freeze_layers": _NOT_NEGATIVE,
    "lora_rank": _POSITIVE,
    "lora_alpha": _POSITIVE,
    "lora_dropout": _SHARE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How one reward model is trained. The defaults are LLaMA-2's recipe (arXiv 2307.09288 §3.2.2).

    Attributes:
        role: "safety" or "helpfulness".
        data: sources of preference data, as `training.data.formats.writer` reads them: files,
            folders, hub names, each with settings of its own where it has any.
        base: the causal LM, encoder or reward model to start from: a directory or a hub name.
        output: directory that the checkpoint is written to.
        mixture: draw training records by this recipe of LLaMA-2; None: by the sources' weights.
        max_malformed: stop when a file has more malformed rows than this; None: twenty, or 1 % of
            what was read of it where that is more.
        format: read every file as this format; None: detect each file's.
        heldout_fraction: share of prompts held out where records name no split.
        split_seed: changes which prompts those are.
        max_length: most tokens of prompt and response; bounded by the base model's positions.
        truncate: "error" leaves over-long responses out, "prompt" cuts their prompts' left.
        objectives: what is minimised: weights by names in `training.losses.OBJECTIVES`.
        head: where a response's reward is read: at its "last_token", as the "mean" over its tokens,
            or "per_token", which is read at the last token and trained at others too.
        margins: reward units for the grades of strength: "none", "small", "large", or a table.
        safety_auxiliary_weight: another way to say the weight of the objective safety_auxiliary.
        trainable: "full" trains every weight, "head" the head alone on hidden states that the trunk
            computes once, "lora" an adapter and the head, "qlora" the same on a 4-bit trunk (CUDA).
        freeze_layers: with "full", leave the embeddings and so many of the lowest layers as they
            are; 0 freezes nothing.
        lora_rank: of the adapter's matrices.
        lora_alpha: the adapter's part is scaled by alpha / rank.
        lora_dropout: on the adapter's input; `disable_dropout` leaves it alone.
        lora_target_modules: last parts of the names of the trunk's linear layers that get an
            adapter, "q_proj"; empty: all of them. The head never does, it is trained whole.
        merge_adapter: publish base and adapter as one checkpoint; else the adapter alone, which
            names its base and shares it in the server.
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
        packing: compute prompts and other common beginnings once for all responses of a batch;
            loss and gradients stay the same. Off, or where a model can't: padded rows.
        max_pack_tokens: a batch of more tokens, after sharing, is cut into several packs, each
            recomputed for its gradients, so that memory holds one at a time; 0: no limit.
        seed: of the head's initialisation and the order of the data.
        save_steps: updates between resumable checkpoints; 0: none.
        logging_steps: updates between log lines.
        resume: go on from the last resumable checkpoint in `output`.
        calibration: what temperature and bias are fitted on: "labels" (`is_safe`, Platt), "pairs"
            (Bradley-Terry), "auto" (labels for the safety role where they suffice, else pairs) or
            "none".
        safety_target_precision: of "unsafe" below the safety model's τ; LLaMA-2's 0.15 had 0.89.
        reference: files of responses sampled from the reference policy, for the reward baseline
            and for telling drift; none: the held-out responses.
        baseline_weight: n₀, how many samples the reward baseline counts for in a new stream.
        report: write report.html and its plots beside the checkpoint, in `OUTPUT.run/report`.
        report_mistakes: held-out pairs ordered wrong that the report quotes; 0: none of their text.
    """

    role: Role
    data: tuple[str, ...]
    base: str
    output: str
    mixture: Recipe | None = None
    max_malformed: int | None = None
    format: str | None = None
    heldout_fraction: float = 0.1
    split_seed: int = 0
    max_length: int = 1024
    truncate: Truncation = "error"
    objectives: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_OBJECTIVES))
    head: HeadKind = "last_token"
    margins: MarginTable | Margins = "small"
    safety_auxiliary_weight: float = 0.0
    trainable: Trainable = "full"
    freeze_layers: int = 0
    lora_rank: int = 16
    lora_alpha: float = 32.0
    lora_dropout: float = 0.0
    lora_target_modules: tuple[str, ...] = ()
    merge_adapter: bool = True
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
    packing: bool = True
    max_pack_tokens: int = 16_384
    seed: int = 0
    save_steps: int = 0
    logging_steps: int = 5
    resume: bool = False
    calibration: CalibrationMethod = "auto"
    safety_target_precision: float = DEFAULT_TARGET_PRECISION
    reference: tuple[str, ...] = ()
    baseline_weight: float = 32.0
    report: bool = True
    report_mistakes: int = 20

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
        if self.mixture is not None and self.mixture not in RECIPES:
            raise ConfigurationError(f"`mixture` must be one of {', '.join(RECIPES)}")
        if self.max_malformed is not None and (
            type(self.max_malformed) is not int or self.max_malformed < 0
        ):
            raise ConfigurationError("`max_malformed` must be a whole number, at least 0")
        if self.freeze_layers and self.trainable != "full":
            raise ConfigurationError(
                f"`freeze_layers` is for trainable = 'full'; {self.trainable!r} trains none of the "
                "trunk's own weights, so leave it out"
            )
        margins_of(self.margins)
        self._check_objectives()

    def _check_objectives(self) -> None:
        check_objectives(self.objectives)
        if self.safety_auxiliary_weight and "safety_auxiliary" in self.objectives:
            raise ConfigurationError(
                "the objective safety_auxiliary has its weight; leave `safety_auxiliary_weight` out"
            )
        if "safety_auxiliary" in self.weights and self.role != "safety":
            raise ConfigurationError(
                "`safety_auxiliary_weight` and the objective safety_auxiliary belong to the safety "
                "role; leave them out"
            )
        check_head(self.weights, self.head)

    @property
    def weights(self) -> Mapping[str, float]:
        """Every objective that is trained on, with its weight."""
        if not self.safety_auxiliary_weight:
            return self.objectives
        return {**self.objectives, "safety_auxiliary": self.safety_auxiliary_weight}

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
    flags = {key: value for key, value in overrides.items() if value is not None}
    values = {**_with_objectives(values), **_with_objectives(flags)}
    known = {f.name: f for f in fields(TrainingConfig)}
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean `{close[0]}`?" if close else ""
            raise ConfigurationError(f"unknown setting `{key}`{hint}")
    given = values.get("data", ())
    given = [given] if isinstance(given, str | dict) else given
    values["data"] = tuple(written_source(item) for item in given)
    for name in ("lora_target_modules", "reference"):
        listed: Any = values.get(name, ())
        values[name] = (listed,) if isinstance(listed, str) else tuple(map(str, listed))
    missing = [name for name in ("role", "base", "output") if not values.get(name)]
    if missing:
        wanted = ", ".join(f"--{name}" for name in missing)
        raise ConfigurationError(f"missing {wanted} (or the same keys in the TOML file)")
    return TrainingConfig(**_typed(values))


def _with_objectives(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values with `objective`, the short spelling, under the name of the setting."""
    named = dict(values)
    spellings = [named.pop(key) for key in ("objective", "objectives") if key in named]
    if len(spellings) > 1:
        raise ConfigurationError("give `objective` or `objectives`, not both")
    if spellings:
        named["objectives"] = parse_objectives(spellings[0])
    return named


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
