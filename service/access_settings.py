"""The settings of access: who may call, and where metrics are read."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.setting_sources import PREFIX


class AccessSettings(BaseSettings):
    """Which keys are accepted, and what of the service has a port of its own."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, validate_default=True
    )

    api_keys: tuple[SecretStr, ...] = Field(
        default=(),
        description="Keys that callers may present (Authorization: Bearer, X-API-Key, or the "
        "password of HTTP Basic), for every scope; none: open to whoever reaches the port.",
    )
    api_keys_file: Path | None = Field(
        default=None,
        description="The same from a file, one a line as KEY [scopes=score,admin,metrics] "
        "[name=NAME]: keeps them out of the environment, and is read again when it changes.",
    )
    cache_per_key: bool | None = Field(
        default=None,
        description="Keep the engine's caches apart by API key, as the speed of an answer tells "
        "that somebody scored the text before; by default where there is more than one key.",
    )
    metrics_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="A port of its own for /metrics, which the other then doesn't answer; 0 takes "
        "a free one. By default it is on the service's port.",
    )
    metrics_host: str | None = Field(
        default=None,
        min_length=1,
        description="Address of the port for metrics; by default that of the service's port.",
    )
