"""The settings of connections: how much and how long one may take before it is a request."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.setting_sources import PREFIX

Seconds = Annotated[float, Field(gt=0.0, le=3600.0)]


class ConnectionSettings(BaseSettings):
    """What a client may hold of the service, and until when it has to go on."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, validate_default=True
    )

    max_body_bytes: int = Field(
        default=8 * 1024 * 1024,
        ge=1024,
        le=1024**3,
        description="Largest request body, or largest line of an NDJSON body.",
    )
    body_timeout_seconds: Seconds = Field(
        default=30.0,
        description="How long a body may take to arrive (408); more for slow links.",
    )
    idle_timeout_seconds: Seconds = Field(
        default=120.0,
        description="How long a connection may be silent between requests or within a body. Keep "
        "it above what the clients' pools keep connections for (aiohttp: 15 s): else they send "
        "into sockets that were just closed, and retry what may have counted.",
    )
    line_timeout_seconds: Seconds = Field(
        default=120.0,
        description="How long an NDJSON stream may go on without a whole line coming in or one "
        "being taken; more for clients that write lines as they think of them.",
    )
