"""The settings of connections: how much and how long one may take before it is a request."""

from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.setting_sources import PREFIX

Seconds = Annotated[float, Field(gt=0.0, le=3600.0)]


class ConnectionSettings(BaseSettings):
    """What a client may hold of the service, and until when it has to go on."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, validate_default=True
    )

    max_connections: int | None = Field(
        default=None,
        ge=8,
        le=2**20,
        description="Most connections at once; /health is answered on 64 further ones. Never more "
        "than the limit of open files allows, which is the default.",
    )
    max_header_bytes: int = Field(
        default=32 * 1024,
        ge=4096,
        le=1024**2,
        description="Most bytes of a request's line and headers together, and of its trailers "
        "(431); half of it for the URL (414).",
    )
    header_timeout_seconds: Seconds = Field(
        default=10.0,
        description="How long a request's headers may take to arrive, from the connection's start "
        "or the request's first byte (408).",
    )
    max_body_bytes: int = Field(
        default=8 * 1024 * 1024,
        ge=1024,
        le=1024**3,
        description="Largest request body, or largest line of an NDJSON body.",
    )
    max_unfinished_body_bytes: int = Field(
        default=128 * 1024 * 1024,
        ge=1024,
        le=2**40,
        description="Bodies that are still arriving, all together; beyond it the one that has "
        "been arriving for longest is refused (503).",
    )
    body_timeout_seconds: Seconds = Field(
        default=30.0,
        description="How long a body may take to arrive (408); more for slow links.",
    )
    min_body_bytes_per_second: float = Field(
        default=1024.0,
        ge=0.0,
        le=2**30,
        description="Slowest that a body may arrive on average, after its first 5 s (408); 0 "
        "leaves it to body_timeout_seconds.",
    )
    idle_timeout_seconds: Seconds = Field(
        default=120.0,
        description="How long a connection may be silent between requests. Keep it above what the "
        "clients' pools keep connections for (aiohttp: 15 s): else they send into sockets that "
        "were just closed, and retry what may have counted.",
    )
    line_timeout_seconds: Seconds = Field(
        default=120.0,
        description="How long an NDJSON stream may go on without a whole line coming in or one "
        "being taken; more for clients that write lines as they think of them.",
    )
    write_timeout_seconds: Seconds = Field(
        default=30.0,
        description="How long a client may leave a reply unread before its connection is cut.",
    )

    @model_validator(mode="after")
    def _bodies_fit(self) -> Self:
        if self.max_body_bytes > self.max_unfinished_body_bytes:
            raise ValueError(
                "max_body_bytes must not exceed max_unfinished_body_bytes: such a body never fits"
            )
        return self
