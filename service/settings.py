"""Everything that can be set, each with its bounds and why one would change it.

Precedence: flags, environment, TOML file, defaults. The models' are in `engine_settings`,
the connections' in `connection_settings`, the watchdog's in `watchdog_settings`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsError

from rm_client.models_base import MAX_STOPS, StopToken
from rm_core.errors import ConfigurationError
from rm_core.types import ModelName
from service.access_settings import AccessSettings
from service.connection_settings import ConnectionSettings, Seconds
from service.engine_settings import EngineSettings
from service.named_models import beside
from service.setting_sources import (
    explained,
    in_environment,
    names_in_environment,
    read_config,
)
from service.watchdog_settings import WatchdogSettings

DialectName = Literal[
    "openrlhf",
    "align_anything",
    "slime",
    "llama_factory",
    "vllm",
    "embeddings",
    "sglang",
    "infinity",
    "rerank",
    "tei",
    "swift",
    "nim",
    "paddlenlp",
    "nemo_gym",
    "kserve",
]
"""Other projects' HTTP contracts; see docs/guides/dialects.md."""

RewardKind = str
"""Which number a dialect gives a text, one of `reward_kinds`: calibrated, or the head's own
(`raw_`), or whitened."""

_OF_ROLES: tuple[RewardKind, ...] = (
    "selected",
    "helpfulness",
    "safety",
    "raw_selected",
    "raw_helpfulness",
    "raw_safety",
    "whitened",
)


def reward_kinds(further: Iterable[ModelName]) -> tuple[RewardKind, ...]:
    """Every kind of reward that may be asked for, with those of further models by their names."""
    return (*_OF_ROLES, *(kind for name in further for kind in (name, f"raw_{name}")))


def model_of_kind(kind: RewardKind) -> ModelName | None:
    """The model whose reward a kind is; None where that is the rule's or a stream's to say."""
    name = kind.removeprefix("raw_")
    return None if name in {"selected", "whitened"} else name


class Settings(AccessSettings, ConnectionSettings, EngineSettings, WatchdogSettings):
    """The service's settings; frozen once loaded."""

    tau: float | None = Field(
        default=None,
        gt=0.0,
        lt=1.0,
        description="Overrides the safety threshold on the score, the checkpoint's own or 0.15.",
    )

    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address to listen on; 0.0.0.0 lets other machines in: set API keys then.",
    )
    port: int = Field(
        default=8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one."
    )
    port_file: Path | None = Field(
        default=None, description="Where to write the bound port; for tests and supervisors."
    )
    state_dir: Path = Field(
        default=Path("rewardd-state"),
        description="Where the streams' statistics live, in a directory that git ignores; a local "
        "disk, since SQLite's write-ahead log is unsafe on network file systems.",
    )
    max_items: int = Field(
        default=1024,
        ge=1,
        le=65536,
        description="Most responses in one request; trainers that send a whole rollout need it "
        "high.",
    )
    max_request_tokens: int = Field(
        default=262_144,
        ge=1,
        le=2**31,
        description="Most tokens in one request, so that one caller can't take the device for "
        "minutes.",
    )
    max_reply_rewards: int = Field(
        default=32_768,
        ge=1,
        le=2**24,
        description="Most rewards of tokens or steps in one reply of /score, some 40 bytes each.",
    )
    max_pack_tokens: int = Field(
        default=8192,
        ge=1,
        le=2**24,
        description="Tokens of one forward pass: more raises throughput until the device is full, "
        "and the wait of whoever comes next.",
    )
    max_pack_items: int = Field(
        default=256, ge=1, le=65536, description="Sequences of one forward pass."
    )
    max_wait_ms: float = Field(
        default=2.0,
        ge=0.0,
        le=1000.0,
        description="How long an idle device waits for company for the first arrival; 0 serves a "
        "lone caller soonest.",
    )
    bulk_every_packs: int = Field(
        default=4,
        ge=1,
        le=1000,
        description="Interactive work goes first, but one of so many packs starts with bulk work "
        "(/ppo_reward); lower it where trainers share the device with much interactive work.",
    )
    max_queue_items: int = Field(
        default=16_384,
        ge=1,
        le=2**20,
        description="Items admitted and not finished, enough for a batch that a trainer posts at "
        "once; beyond it native routes refuse at once, dialects and NDJSON lines wait. An eighth "
        "is for interactive work.",
    )
    max_queue_tokens: int = Field(
        default=8_388_608,
        ge=1,
        le=2**31,
        description="Tokens admitted and not finished, some 40 bytes each and tokenizer.",
    )
    max_waiting_bytes: int = Field(
        default=512 * 1024 * 1024,
        ge=1024,
        le=2**40,
        description="Bodies of requests to dialects, which wait for room; beyond it they are "
        "refused (503).",
    )
    max_queue_wait_seconds: Seconds = Field(
        default=30.0,
        description="How long an interactive request (/score, /compare) may wait before its first "
        "item is begun; lower it to shed load sooner on a fast device.",
    )
    max_bulk_queue_wait_seconds: Seconds = Field(
        default=100.0,
        description="The same for /ppo_reward; stay below the trainers' own timeouts (slime 120 s, "
        "OpenRLHF 180 s).",
    )
    overload_status: Literal[429, 503] = Field(
        default=429,
        description="What a full queue answers, with Retry-After. 503 suits clients that give up "
        "at once on any 4xx and retry the rest.",
    )
    drain_timeout_seconds: float = Field(
        default=45.0,
        ge=0.0,
        le=3600.0,
        description="How long accepted requests may take to finish after SIGTERM; keep it below "
        "the supervisor's own patience.",
    )
    drain_delay_seconds: float = Field(
        default=0.5,
        ge=0.0,
        le=600.0,
        description="How long /health/ready says 503 before the port closes, so that a load "
        "balancer looks away first.",
    )
    tokenizer_threads: int = Field(
        default=2, ge=1, le=64, description="Threads that turn texts into token ids."
    )
    torch_threads: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="CPU threads of a forward pass; torch's own choice by default. Lower it where "
        "containers share cores.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least grave event to log."
    )
    log_prints: bool = Field(
        default=True,
        description="Make events of what libraries print where the log is JSON; false leaves it on "
        "standard output and error as it is, with the last words of C code that crashes.",
    )

    disabled_dialects: Annotated[tuple[DialectName, ...], NoDecode] = Field(
        default=(),
        description="Other projects' contracts that are not answered, separated by commas; all "
        f"are by default: {', '.join(get_args(DialectName))}.",
    )
    dialect_reward: RewardKind = Field(
        default="selected",
        description="The number that dialects return, calibrated: the reward that the safety rule "
        "selects, or one model's by its name; with raw_ in front the model's own number before "
        "calibration; or the selected one whitened by a stream. A trainer's address overrides it "
        "with ?reward=.",
    )
    dialect_stream: str = Field(
        default="default",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="The stream of whitened; ?stream= overrides it, one for each training run.",
    )
    dialect_stop: Annotated[tuple[StopToken, ...], NoDecode] = Field(
        default=(),
        max_length=MAX_STOPS,
        description="The policy's own stop tokens (<|im_end|>), separated by commas, which "
        "dialects take off the texts' ends before the reward model's own is written; ?stop= "
        "overrides it.",
    )
    dialect_fallback_reward: float | None = Field(
        default=None,
        allow_inf_nan=False,
        ge=-1e6,
        le=1e6,
        description="What dialects return for a text that can't be judged; by default the whole "
        "request is an error. Choose a number below all that the model gives, or the policy "
        "learns to write such texts.",
    )
    hmac_secret_file: Path | None = Field(
        default=None,
        description="A file whose content signs every reply (HMAC-SHA256 in X-Rewardd-Signature), "
        "so that a trainer can tell its rewards from forged ones.",
    )

    @field_validator("disabled_dialects", "dialect_stop", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """Environment and flags say "slime,vllm"; a file may also hold a list."""
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.max_items > self.max_queue_items:
            raise ValueError("max_items must not exceed max_queue_items: such a request never fits")
        if self.max_request_tokens > self.max_queue_tokens:
            raise ValueError(
                "max_request_tokens must not exceed max_queue_tokens: such a request never fits"
            )
        kinds = reward_kinds(self.models)
        if self.dialect_reward not in kinds:
            raise ValueError(f"dialect_reward must be one of {', '.join(kinds)}")
        return self

    @classmethod
    def load(cls, config: Path | None = None, **flags: Any) -> Self:
        """The settings from flags, environment and TOML file, in this order of precedence.

        Models that flags name stand beside those of the environment or the file.

        Args:
            config: TOML file; the one that REWARDD_CONFIG names by default.
            flags: values from the command line; None means not given.

        Raises:
            ConfigurationError: a name is unknown, a value out of bounds, or the file unreadable.
        """
        named = names_in_environment(cls.model_fields)
        from_file = read_config(config)
        values = {name: value for name, value in from_file.items() if name not in named}
        given = {name: value for name, value in flags.items() if value is not None}
        if "models" in given:
            elsewhere = values.get("models", in_environment("models"))
            given["models"] = beside(given["models"], elsewhere)
        try:
            return cls(**(values | given))
        except SettingsError as exc:
            # Its message names the field and source, not the value.
            raise ConfigurationError(str(exc)) from exc
        except ValidationError as exc:
            raise ConfigurationError(explained(exc, cls.model_fields)) from None
