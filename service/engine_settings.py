"""The settings of the models and of the engine that runs them."""

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from rm_core.engine.options import DEFAULT_REWARD_CACHE_BYTES, EngineOptions
from rm_core.text.contract import ContractOverrides, Rendering
from service.setting_sources import PREFIX


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

    def contract_overrides(self) -> dict[str, ContractOverrides]:
        """What these settings change of how the models read texts, by the models' names."""
        return {
            role: ContractOverrides(self.read_position, rendering, self.template_date)
            for role, rendering in (
                ("safety", self.safety_rendering),
                ("helpfulness", self.helpfulness_rendering),
            )
        }

    def engine_options(self) -> EngineOptions:
        """How the engine is to run them."""
        return EngineOptions(
            dtype=self.dtype,
            deterministic=self.deterministic,
            compile_layers=self.compile_layers,
            reward_cache_bytes=self.reward_cache_bytes,
            prefix_cache_bytes=self.prefix_cache_bytes,
        )
