"""The settings of the models and of the engine that runs them."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from rm_core.checkpoint.source import ModelSource
from rm_core.checkpoint.trial import Trial, TrialLimits
from rm_core.engine.options import DEFAULT_REWARD_CACHE_BYTES, EngineOptions
from rm_core.errors import ConfigurationError
from rm_core.text.contract import ContractOverrides, Rendering
from rm_core.types import ModelName
from service.named_models import MAX_MODELS, NamedModel, read_models
from service.setting_sources import PREFIX, products_file


class EngineSettings(BaseSettings):
    """Which models are loaded, and how they read texts and run."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, validate_default=True
    )

    safety_model: str | None = Field(
        default=None, description="Directory or hub name of the safety reward model."
    )
    helpfulness_model: str | None = Field(
        default=None, description="Directory or hub name of the helpfulness reward model."
    )
    models: Annotated[dict[ModelName, NamedModel], NoDecode] = Field(
        default={},
        max_length=MAX_MODELS,
        description="Further reward models, each by a name of one's own: NAME=DIRECTORY, separated "
        'by commas, or a table of NAME = "DIRECTORY" in the TOML file. Of a checkpoint with '
        "several labels DIRECTORY#LABEL is one of them. A table for a model (or JSON) may also say "
        "label, layer, rendering, temperature, bias. Their rewards stand in `rewards` of replies.",
    )
    safety_layer: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="After how many of its layers the safety model is read, before the final norm; "
        "those above are not loaded. By default what its manifest says, or all.",
    )
    helpfulness_layer: int | None = Field(
        default=None, ge=1, le=10_000, description="The same for the helpfulness model."
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d{1,2})?)$",
        description="Where the models run; auto takes the first GPU, else the CPU.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8"] = Field(
        default="auto",
        description="Numbers of the forward pass: auto is float32 on CPU and bfloat16 on a GPU; "
        "float32 where exactness matters more than speed. On the CPU the error of the others is "
        "measured at the start and told in the log and in /v1/info.",
    )
    deterministic: bool = Field(
        default=False,
        description="Give a text the same bits in any company, on one machine with one "
        "installation and number of threads; a little slower. Llama-shaped models on the CPU share "
        "prefixes as they do otherwise, others don't.",
    )
    compile_layers: bool = Field(
        default=False,
        description="Let torch compile the layers of decoders on CUDA: a slower start for fewer "
        "kernel launches. Not with deterministic. Never measured on a GPU yet.",
    )
    products: Literal["auto", "mkl", "onednn"] = Field(
        default="auto",
        description="The library that multiplies matrices on the CPU: auto times torch's own way "
        "(mkl) and oneDNN on the model's layers at the start, and keeps what it found in "
        "rewardd/products.json of the user's cache directory.",
    )
    attention: Literal["auto", "torch", "native"] = Field(
        default="auto",
        description="What computes the attention of float32 decoders on the CPU: native is "
        "rewardd's own code, compiled at the start (2 s, kept in ~/.cache/rewardd/native); auto "
        "takes it where a C++ compiler is installed, else torch's. /v1/info tells which and why.",
    )
    reward_cache_bytes: int = Field(
        default=DEFAULT_REWARD_CACHE_BYTES,
        ge=0,
        le=2**40,
        description="What the rewards of scored texts may take, so that a text which comes again "
        "costs a look-up; some 700 bytes a text. 0 keeps none: for measurements, or where every "
        "text is new.",
    )
    prefix_cache_bytes: int | None = Field(
        default=None,
        ge=0,
        le=2**44,
        description="What keys and values of texts' beginnings may take, all models together, so "
        "that a prompt or a conversation that comes again is not computed again. Unset: on the CPU "
        "a twentieth of the memory that is free at the start, at most 1 GiB; on CUDA none. 0 keeps "
        "none.",
    )
    read_position: Literal["last_token"] | None = Field(
        default=None,
        description="Overrides where a foreign checkpoint's head reads: last_token as OpenRLHF and "
        "vLLM do, instead of the checkpoint's own contract.",
    )
    safety_rendering: Rendering | None = Field(
        default=None,
        description="Overrides how the safety model is given prompt and response: chat (its chat "
        "template), concatenate, or pair (two segments, as encoders trained on pairs read).",
    )
    helpfulness_rendering: Rendering | None = Field(
        default=None, description="The same for the helpfulness model."
    )
    template_date: str | None = Field(
        default=None,
        pattern=r"^\d{4}-\d{2}-\d{2}$",
        description="The day that chat templates which write today's date are told, such as "
        "2024-07-26; by default they write today's, and rewards change from day to day.",
    )

    model_root: Path | None = Field(
        default=None,
        description="The directory below which PUT /admin/models/{role} may load checkpoints; "
        "unset, no model can be replaced while the service runs.",
    )
    swap_load_timeout_seconds: float = Field(
        default=1800.0,
        gt=0.0,
        le=86400.0,
        description="How long the loading of a model that is to replace another may take.",
    )
    checkpoint_trial_seconds: float = Field(
        default=15.0,
        ge=0.0,
        le=3600.0,
        description="Processor time that a checkpoint may take in a process of its own that tries "
        "its configuration, tokenizer and chat template before they are loaded here. Then its "
        "rewards are looked at as well. 0 tries nothing, for checkpoints that you made yourself.",
    )
    checkpoint_trial_memory_bytes: int = Field(
        default=4 * 2**30,
        ge=2**28,
        le=2**40,
        description="Memory that it may take there, beyond what the libraries do.",
    )

    def trial(self) -> Trial | None:
        """Where checkpoints are tried, started with it; None where they aren't."""
        if not self.checkpoint_trial_seconds:
            return None
        limits = TrialLimits(self.checkpoint_trial_seconds, self.checkpoint_trial_memory_bytes)
        return Trial(limits).start()

    def contract_overrides(self) -> dict[str, ContractOverrides]:
        """What these settings change of how the models read texts, by the models' names."""
        renderings = {"safety": self.safety_rendering, "helpfulness": self.helpfulness_rendering}
        renderings |= {name: model.rendering for name, model in self.models.items()}
        return {
            name: ContractOverrides(self.read_position, rendering, self.template_date)
            for name, rendering in renderings.items()
        }

    def sources(self) -> dict[ModelName, ModelSource]:
        """What is loaded, by the models' names: safety, helpfulness, then the further ones.

        Raises:
            ConfigurationError: a layer is set of a model that isn't named.
        """
        found: dict[ModelName, ModelSource] = {}
        for role, name, layer in (
            ("safety", self.safety_model, self.safety_layer),
            ("helpfulness", self.helpfulness_model, self.helpfulness_layer),
        ):
            if name is not None:
                found[role] = replace(ModelSource.of(name), layer=layer)
            elif layer is not None:
                raise ConfigurationError(f"{role}_layer is set, but no {role}_model is named")
        return found | {name: model.source() for name, model in self.models.items()}

    @field_validator("models", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return read_models(value)

    def engine_options(self) -> EngineOptions:
        """How the engine is to run them."""
        return EngineOptions(
            dtype=self.dtype,
            deterministic=self.deterministic,
            compile_layers=self.compile_layers,
            attention=self.attention,
            reward_cache_bytes=self.reward_cache_bytes,
            prefix_cache_bytes=self.prefix_cache_bytes,
            products=self.products,
            products_file=products_file(),
        )
