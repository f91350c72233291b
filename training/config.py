"""The training configuration: one frozen value from a TOML file and flags, kept in the manifest.

Its fields are the flags of `rewardd train` too, so nothing heavy is imported before a value is
checked: the command line lists them without torch.
"""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.dataclasses import dataclass

from rm_core.checkpoint.manifest import HeadKind
from rm_core.errors import ConfigurationError
from rm_core.types import Role
from training.types import (
    DEFAULT_OBJECTIVES,
    DEFAULT_TARGET_PRECISION,
    CalibrationMethod,
    Margins,
    MarginTable,
    PairWeighting,
    Precision,
    Recipe,
    Trainable,
)

# True is no number, "2" neither; a misspelt setting is none of ours.
_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class TrainingConfig:
    """How one reward model is trained. The defaults are LLaMA-2's recipe (arXiv 2307.09288 §3.2.2).

    Raises:
        ConfigurationError: a value is out of range; the field is named.
    """

    role: Role = Field(description="which of the two reward models this is to be")
    data: tuple[str, ...] = Field(
        min_length=1,
        description="sources of preference data: files, folders or hub names, each written "
        "PLACE[@PART][,key=value…]",
    )
    base: str = Field(
        description="the causal LM, encoder or reward model to start from: a directory or a hub "
        "name."
    )
    output: str = Field(description="directory that the checkpoint is written to.")
    mixture: Recipe | None = Field(
        default=None,
        description="draw training records by this recipe of LLaMA-2; absent: by the sources' "
        "weights.",
    )
    max_malformed: int | None = Field(
        default=None,
        ge=0,
        description="stop when a file has more malformed rows than this; absent: twenty, or 1 % of "
        "what was read of it where that is more.",
    )
    format: str | None = Field(
        default=None, description="read every file as this format; absent: detect each file's."
    )
    heldout_fraction: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="share of prompts held out where records name no split.",
    )
    split_seed: int = Field(default=0, description="changes which prompts are held out.")
    max_length: int = Field(
        default=1024,
        gt=0,
        description="most tokens of prompt and response; bounded by the base model's positions.",
    )
    truncate: Literal["error", "prompt"] = Field(
        default="error",
        description='"error" leaves over-long responses out, "prompt" cuts their prompts\' left.',
    )
    template_date: str | None = Field(
        default=None,
        description="what a chat template that writes today's date is told to be today, "
        "2026-11-30 for one; the checkpoint keeps it and is served by it.",
    )
    objectives: Mapping[str, float] = Field(
        default_factory=lambda: dict(DEFAULT_OBJECTIVES),
        description="what is minimised: NAME, or NAME=WEIGHT with a weight greater than 0.",
    )
    head: HeadKind = Field(
        default="last_token",
        description="where a response's reward is read: at its last_token, as the mean over its "
        'tokens, or "per_token", which is read at the last token and trained at others '
        "too.",
    )
    margins: MarginTable | Margins = Field(
        default="small",
        description="reward units for the grades of strength: none, small, large, or a table.",
    )
    safety_auxiliary_weight: float = Field(
        default=0.0,
        ge=0,
        description="another way to say the weight of the objective safety_auxiliary.",
    )
    trainable: Trainable = Field(
        default="full",
        description='"full" trains every weight, "head" the head alone on hidden states that the '
        'trunk computes once, "lora" an adapter and the head, "qlora" the same on a '
        "4-bit trunk (CUDA).",
    )
    freeze_layers: int = Field(
        default=0,
        ge=0,
        description='with "full", leave the embeddings and so many of the lowest layers as they '
        "are; 0 freezes nothing.",
    )
    lora_rank: int = Field(default=16, gt=0, description="rank of the adapter's matrices.")
    lora_alpha: float = Field(
        default=32.0, gt=0, description="the adapter's part is scaled by alpha / rank."
    )
    lora_dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="on the adapter's input; `disable_dropout` leaves it alone.",
    )
    lora_target_modules: tuple[str, ...] = Field(
        default=(),
        description="last parts of the names of the trunk's linear layers that get an adapter, "
        '"q_proj"; empty: all of them. The head never does, it is trained whole.',
    )
    merge_adapter: bool = Field(
        default=True,
        description="publish base and adapter as one checkpoint; else the adapter alone, which "
        "names its base and shares it in the server.",
    )
    pair_weighting: PairWeighting = Field(
        default="prompt",
        description='"prompt" lets the K(K−1)/2 pairs of a ranking share the weight of one pair '
        '(InstructGPT, arXiv 2203.02155 eq. 1); "pair" gives each pair the same weight.',
    )
    epochs: float = Field(
        default=1.0, gt=0, description="passes over the data; more than one overfits, says LLaMA-2."
    )
    learning_rate: float = Field(default=1e-05, gt=0, description="the highest learning rate.")
    min_learning_rate_ratio: float = Field(
        default=0.1, ge=0, le=1, description="the cosine's end as a share of the highest."
    )
    warmup_ratio: float = Field(
        default=0.03, ge=0, lt=1, description="share of the steps in which the rate climbs."
    )
    min_warmup_steps: int = Field(
        default=5,
        ge=0,
        description="at least so many such steps, though never more than a tenth of the steps.",
    )
    batch_size: int = Field(default=8, gt=0, description="prompts in one forward pass.")
    gradient_accumulation: int = Field(default=8, gt=0, description="forward passes in one update.")
    weight_decay: float = Field(default=0.1, ge=0, description="AdamW's weight decay.")
    adam_beta1: float = Field(default=0.9, ge=0, lt=1, description="AdamW's β₁.")
    adam_beta2: float = Field(default=0.95, ge=0, lt=1, description="AdamW's β₂.")
    adam_epsilon: float = Field(default=1e-05, gt=0, description="AdamW's ε.")
    max_grad_norm: float = Field(
        default=1.0, gt=0, description="gradients are clipped to this norm."
    )
    disable_dropout: bool = Field(
        default=True,
        description="train without dropout, so that training and serving compute the same.",
    )
    precision: Precision = Field(
        default="auto",
        description='"auto" is bf16 on a GPU that has it and fp32 elsewhere; weights stay fp32.',
    )
    gradient_checkpointing: bool = Field(
        default=False, description="recompute activations to save memory."
    )
    packing: bool = Field(
        default=True,
        description="compute prompts and other common beginnings once for all responses of a "
        "batch; loss and gradients stay the same. Off, or where a model can't: padded rows.",
    )
    max_pack_tokens: int = Field(
        default=16_384,
        ge=0,
        description="a batch of more tokens, after sharing, is cut into several packs, each "
        "recomputed for its gradients, so that memory holds one at a time; 0: no limit.",
    )
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**32,
        description="of the head's initialisation and the order of the data.",
    )
    save_steps: int = Field(
        default=0, ge=0, description="updates between resumable checkpoints; 0: none."
    )
    logging_steps: int = Field(default=5, gt=0, description="updates between log lines.")
    resume: bool = Field(
        default=False, description="go on from the last resumable checkpoint in `output`."
    )
    overwrite: bool = Field(
        default=False,
        description="replace the finished model in `output`, once the new one is whole; without it "
        "such an output is refused.",
    )
    calibration: CalibrationMethod = Field(
        default="auto",
        description='what temperature and bias are fitted on: "labels" (`is_safe`, Platt), "pairs" '
        '(Bradley-Terry), "auto" (labels for the safety role where they suffice, else '
        'pairs) or "none".',
    )
    safety_target_precision: float = Field(
        default=DEFAULT_TARGET_PRECISION,
        gt=0,
        le=1,
        description="of \"unsafe\" below the safety model's τ; LLaMA-2's 0.15 had 0.89.",
    )
    reference: tuple[str, ...] = Field(
        default=(),
        description="files of responses sampled from the reference policy, for the reward baseline "
        "and for telling drift; none: the held-out responses.",
    )
    baseline_weight: float = Field(
        default=32.0,
        ge=0,
        description="how many samples the reward baseline counts for in a new stream (n₀).",
    )
    report: bool = Field(
        default=True,
        description="write report.html and its plots beside the checkpoint, in "
        "`OUTPUT.run/report`.",
    )
    report_mistakes: int = Field(
        default=20,
        ge=0,
        description="held-out pairs ordered wrong that the report quotes; 0: none of their text.",
    )

    @field_validator("margins", mode="plain")
    @classmethod
    def _margins_are_known(cls, margins: Any) -> Any:
        from training.data.margins import margins_of

        table = margins_of(margins)
        return margins if isinstance(margins, str) else table

    @model_validator(mode="wrap")
    @classmethod
    def _errors_name_the_setting(cls, values: Any, handler: Any) -> "TrainingConfig":
        try:
            config: TrainingConfig = handler(values)
        except ValidationError as error:
            raise ConfigurationError(_first_error(error)) from error
        return config

    @model_validator(mode="after")
    def _settings_go_together(self) -> "TrainingConfig":
        if self.freeze_layers and self.trainable != "full":
            raise ConfigurationError(
                f"`freeze_layers` is for trainable = 'full'; {self.trainable!r} trains none of the "
                "trunk's own weights, so leave it out"
            )
        self._check_objectives()
        return self

    def _check_objectives(self) -> None:
        from training.losses import check_head, check_objectives

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
    from training.data.formats.writer import written_source

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
    missing = [name for name in ("role", "data", "base", "output") if not values.get(name)]
    if missing:
        wanted = ", ".join(f"--{name}" for name in missing)
        raise ConfigurationError(f"missing {wanted} (or the same keys in the TOML file)")
    return TrainingConfig(**values)


def _with_objectives(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values with `objective`, the short spelling, under the name of the setting."""
    named = dict(values)
    spellings = [named.pop(key) for key in ("objective", "objectives") if key in named]
    if len(spellings) > 1:
        raise ConfigurationError("give `objective` or `objectives`, not both")
    if spellings:
        from training.losses import parse_objectives

        named["objectives"] = parse_objectives(spellings[0])
    return named


def _first_error(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    name = first["loc"][0] if first["loc"] else "configuration"
    if first["type"] == "too_short":
        return f"`{name}` names no file; give at least one with --{name}"
    return f"`{name}` {first['msg'].replace('Input should', 'must')}"
