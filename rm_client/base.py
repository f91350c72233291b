"""What both clients are: settings that travel in a pickle, conversations by the retry policy."""

import time
from collections.abc import Generator
from typing import Any, Self

from rm_client.call import Call
from rm_client.config import (
    DEFAULT_CONNECT_TIMEOUT_SECONDS,
    DEFAULT_MAX_CONNECTIONS,
    DEFAULT_TIMEOUT_SECONDS,
    ClientConfig,
)
from rm_client.retry import Failure, Pause, RawReply, RetryPolicy, Send, exchange


class ClientBase:
    """Settings of a client; its connections are the subclass's affair."""

    config: ClientConfig

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        connect_timeout_seconds: float = DEFAULT_CONNECT_TIMEOUT_SECONDS,
        retry: RetryPolicy | None = None,
        max_connections: int = DEFAULT_MAX_CONNECTIONS,
        verify: bool = True,
        trust_env: bool = True,
    ) -> None:
        """Keep the settings; the first call connects.

        Args:
            url: the server's address ("http://rewards:8000").
            api_key: if the server wants one.
            timeout_seconds: for one attempt.
            connect_timeout_seconds: of it, for the connection.
            retry: how often and how patiently a call is repeated.
            max_connections: open at a time; of the async client per event loop.
            verify: whether to check the server's certificate.
            trust_env: whether HTTP_PROXY and its kin are obeyed.
        """
        self.__setstate__(
            ClientConfig(
                url=url,
                api_key=api_key,
                timeout_seconds=timeout_seconds,
                connect_timeout_seconds=connect_timeout_seconds,
                retry=retry or RetryPolicy(),
                max_connections=max_connections,
                verify=verify,
                trust_env=trust_env,
            )
        )

    @classmethod
    def from_config(cls, config: ClientConfig) -> Self:
        """A client of these settings."""
        client = cls.__new__(cls)
        client.__setstate__(config)
        return client

    def __getstate__(self) -> ClientConfig:
        return self.config

    def __setstate__(self, config: ClientConfig) -> None:
        self.config = config

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.config.url!r})"

    def _exchange(
        self, call: Call[Any], policy: RetryPolicy | None
    ) -> Generator[Send | Pause, RawReply | Failure | None, tuple[RawReply, int]]:
        return exchange(
            call.name,
            policy or self.config.retry,
            timeout_seconds=self.config.timeout_seconds,
            repeatable=call.repeatable,
            clock=time.monotonic,
            idempotency_key=call.idempotency_key,
        )
