"""What a connection may hold, and until when it has to go on."""

import resource
from dataclasses import dataclass
from typing import Self

from service.settings import Settings

RESERVED_PLACES = 64
"""Connections above the cap, on which /health alone is answered."""

DISCARDED_BYTES = 1024 * 1024
"""Most of an unwanted body that is read and thrown away, so that the connection can go on."""

_BODY_MARGIN_SECONDS = 10.0
SCRAPERS_PLACES = 64
"""Connections of the metrics' own port."""

# Beside the cap: the metrics' port with its own reserved places; the state's database, logs, the
# loop's own descriptors, files being read.
_OTHER_FILES = SCRAPERS_PLACES + RESERVED_PLACES + 192


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits of connections.

    Attributes:
        connections: most at once, beside the reserved places.
        header_bytes: of a request's line and headers, and of all that frames a chunked body.
        url_bytes: of the request's target.
        header_seconds: from a connection's start, or a request's first byte, to its last header.
        body_seconds: of silence within a body, where whoever reads it hasn't ended it before.
        idle_seconds: of silence between requests.
        write_seconds: for which a client may leave unread what was written.
    """

    connections: int
    header_bytes: int
    url_bytes: int
    header_seconds: float
    body_seconds: float
    idle_seconds: float
    write_seconds: float

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The limits that the settings and the system's limit of open files allow together."""
        return cls(
            connections=most_connections(settings.max_connections),
            header_bytes=settings.max_header_bytes,
            url_bytes=settings.max_header_bytes // 2,
            header_seconds=settings.header_timeout_seconds,
            body_seconds=_BODY_MARGIN_SECONDS
            + max(
                settings.body_timeout_seconds,
                settings.line_timeout_seconds,
                settings.idle_timeout_seconds,
            ),
            idle_seconds=settings.idle_timeout_seconds,
            write_seconds=settings.write_timeout_seconds,
        )


def most_connections(wanted: int | None) -> int:
    """How many connections leave descriptors for everything else.

    Args:
        wanted: by the settings; None: as many as may be.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        limit = 2**20
    allowed = max(limit - RESERVED_PLACES - _OTHER_FILES, limit // 4, 1)
    return allowed if wanted is None else min(wanted, allowed)
