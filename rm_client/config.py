"""Where the service is and how to reach it: what a client keeps when it is pickled."""

from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import httpx

from rm_client.errors import InvalidRequest
from rm_client.retry import Failure, RetryPolicy

DEFAULT_TIMEOUT_SECONDS = 120.0
DEFAULT_CONNECT_TIMEOUT_SECONDS = 10.0
DEFAULT_MAX_CONNECTIONS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """The arguments of a client.

    Attributes:
        url: the server's address, with the path in front of /score if there is one. A key in it
            (`http://any:KEY@host`) becomes `api_key` and is shown no more.
        api_key: sent as a bearer token; never shown, but it does travel in a pickle.
        timeout_seconds: for one attempt, from the connection to the last byte.
        connect_timeout_seconds: of it, for the connection.
        retry: how often and how patiently.
        max_connections: open at a time, all kept alive.
        verify: whether to check the server's certificate; False only for tests.
        trust_env: whether HTTP_PROXY and its kin are obeyed.
    """

    url: str
    api_key: str | None = field(default=None, repr=False)
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    connect_timeout_seconds: float = DEFAULT_CONNECT_TIMEOUT_SECONDS
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    max_connections: int = DEFAULT_MAX_CONNECTIONS
    verify: bool = True
    trust_env: bool = True

    def __post_init__(self) -> None:
        try:
            parsed = httpx.URL(self.url)
        except httpx.InvalidURL as exc:
            reason = "check what stands around the @" if "@" in self.url else exc  # no key in it
            raise InvalidRequest(f"the address is not a URL: {reason}") from None
        if parsed.userinfo:
            parsed = self._without_key(parsed)
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise InvalidRequest("the address must begin with http:// or https:// and a host")
        if parsed.query or parsed.fragment:
            raise InvalidRequest("the address must have neither a query nor a fragment")
        if not (self.timeout_seconds > 0.0 and self.connect_timeout_seconds > 0.0):
            raise InvalidRequest("timeouts must be positive")
        if self.max_connections < 1:
            raise InvalidRequest("max_connections must be at least 1")
        key = self.api_key
        if key is not None and not (key and key.isascii() and key.isprintable()):
            raise InvalidRequest("the API key must be printable ASCII, without a line's end")

    def _without_key(self, address: httpx.URL) -> httpx.URL:
        """Take a key from the address to where it isn't shown; the address without it."""
        if self.api_key is not None or not address.password:
            raise InvalidRequest(
                "an address with an @ holds the API key as password (http://any:KEY@host:8000), "
                "and then no other key is given"
            )
        object.__setattr__(self, "api_key", address.password)
        address = address.copy_with(username=None, password=None)
        object.__setattr__(self, "url", str(address))
        return address

    def http_options(self) -> dict[str, Any]:
        """Arguments of httpx's clients."""
        headers = {"User-Agent": f"rewardd-client/{_version()}", "Accept": "application/json, */*"}
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key}"
        return {
            "base_url": self.url.rstrip("/"),
            "headers": headers,
            "limits": httpx.Limits(
                max_connections=self.max_connections,
                max_keepalive_connections=self.max_connections,
            ),
            "verify": self.verify,
            "trust_env": self.trust_env,
            "follow_redirects": False,
        }

    def timeout(self, seconds: float) -> httpx.Timeout:
        """The phases' limits of an attempt that may take `seconds`."""
        return httpx.Timeout(seconds, connect=min(seconds, self.connect_timeout_seconds))


def failure_of(error: httpx.HTTPError | TimeoutError) -> Failure:
    """What an exception of httpx means for the retries."""
    timed_out = isinstance(error, httpx.TimeoutException | TimeoutError)
    unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    kind = type(error).__name__
    reasons = {
        "ConnectError": "no connection to the server: is it running, and the address right?",
        "ConnectTimeout": "no connection to the server in time",
        "PoolTimeout": "all connections stayed busy; raise max_connections",
    }
    reason = reasons.get(kind, "no answer in time" if timed_out else f"connection broke: {kind}")
    return Failure(reason, timed_out=timed_out, sent=not unsent)


def _version() -> str:
    try:
        return metadata.version("rewardd")
    except metadata.PackageNotFoundError:
        return "unknown"
