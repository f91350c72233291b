"""The settings of the watchdog: how long calls may take before the engine counts as hung."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.setting_sources import PREFIX
from service.watchdog.limits import (
    COMPILED_FLOOR_SECONDS,
    FLOOR_SECONDS,
    LOAD_SECONDS,
    TOKENIZE_SECONDS,
    WARM_UP_SECONDS,
    WatchLimits,
)


class WatchdogSettings(BaseSettings):
    """When a dead or hung engine ends the process, which its supervisor then starts again."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, validate_default=True
    )

    watchdog: bool = Field(
        default=True,
        description="Whether a dead or hung engine ends the process (exit code 70, or 1 where no "
        "Python runs any more). Without it /health says so and nothing else happens.",
    )
    forward_timeout_seconds: float | None = Field(
        default=None,
        gt=0.0,
        le=86400.0,
        description="A pack that takes longer is taken for hung, the first ones included. Unset: "
        f"{FLOOR_SECONDS:.0f} s and ten times the slowest pack of its size "
        f"({COMPILED_FLOOR_SECONDS:.0f} s with compile_layers).",
    )
    warm_up_timeout_seconds: float = Field(
        default=WARM_UP_SECONDS,
        gt=0.0,
        le=86400.0,
        description="The same for the first pack of a size, as kernels are chosen and compiled "
        "then, where forward_timeout_seconds is unset. Raise it where one pack of "
        "max_pack_tokens takes longer than half an hour.",
    )
    tokenize_timeout_seconds: float = Field(
        default=TOKENIZE_SECONDS,
        gt=0.0,
        le=86400.0,
        description="The same for tokenising a few texts; once more for each million characters.",
    )
    load_timeout_seconds: float = Field(
        default=LOAD_SECONDS,
        gt=0.0,
        le=86400.0,
        description="The same for loading the models at the start, downloads included.",
    )

    def watch_limits(self, *, compiled: bool) -> WatchLimits:
        """What these settings say to the watchdog.

        Args:
            compiled: whether layers are compiled, which takes minutes.
        """
        return WatchLimits(
            forward=self.forward_timeout_seconds,
            floor=COMPILED_FLOOR_SECONDS if compiled else FLOOR_SECONDS,
            warm_up=self.warm_up_timeout_seconds,
            tokenize=self.tokenize_timeout_seconds,
            load=self.load_timeout_seconds,
        )
