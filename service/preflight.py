"""What is found out before models are loaded, which may take minutes: settings, files, the port.

Whatever is wrong is one sentence that says what to change.
"""

import errno
import socket
import tempfile
from pathlib import Path

from rm_core.checkpoint.files import ADAPTER_CONFIG, inspect_files, resolve_directory
from rm_core.errors import ConfigurationError
from service.access.api_keys import ApiKeys
from service.dialects import registry
from service.http.provenance import read_secret
from service.settings import Settings
from service.streams.database import (
    STATE_FILE,
    check_database,
    has_been_here,
    make_state_directory,
)


def check_settings(settings: Settings) -> None:
    """Refuse settings that a server could not start with.

    Raises:
        ConfigurationError: no model is named, or a file or directory can't be used as it should.
        CheckpointError: a model's directory holds no checkpoint that could be served.
    """
    sources = settings.sources()
    if not sources:
        raise ConfigurationError(
            "no reward model is named; name a safety or helpfulness model: rewardd serve "
            "--helpfulness-model DIRECTORY (or --safety-model; `rewardd demo` makes two to try)"
        )
    for source in sources.values():
        check_checkpoint(source.name)
    registry.require_reward(settings, tuple(sources))
    ApiKeys.of(settings)
    if settings.hmac_secret_file is not None:
        read_secret(settings.hmac_secret_file)
    if settings.port_file is not None and not settings.port_file.parent.is_dir():
        raise ConfigurationError(
            f"port_file {settings.port_file} can't be written: there is no directory "
            f"{settings.port_file.parent}"
        )
    _check_state(settings.state_dir)


def bound_sockets(host: str, port: int) -> list[socket.socket]:
    """Sockets on the address, held but not listening: callers are refused until models are there.

    Args:
        host: a name or an address; a name may have several.
        port: 0 takes a free one.

    Raises:
        ConfigurationError: the address is not this machine's, or the port is not to be had.
    """
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_ADDRCONFIG
        )
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(
            f"host {host} is not known here ({_reason(error)}); 127.0.0.1 is this machine alone, "
            "0.0.0.0 all of its addresses"
        ) from error
    sockets: list[socket.socket] = []
    for family, kind, protocol, _, (number, free, *rest) in dict.fromkeys(found):
        # A free port is taken once: the other addresses of the name get the same.
        same = sockets[0].getsockname()[1] if port == 0 and sockets else free
        try:
            sockets.append(_bound(family, kind, protocol, (number, same, *rest)))
        except OSError as error:
            for held in sockets:
                held.close()
            raise ConfigurationError(_why_not(host, port, error)) from error
    return sockets


def bound_metrics_sockets(settings: Settings) -> list[socket.socket] | None:
    """Sockets on the metrics' own port, held but not listening; None if it has none.

    Raises:
        ConfigurationError: the address is not this machine's, or the port is not to be had.
    """
    if settings.metrics_port is None:
        return None
    try:
        return bound_sockets(settings.metrics_host or settings.host, settings.metrics_port)
    except ConfigurationError as error:
        told = str(error).replace("--port", "REWARDD_METRICS_PORT")
        raise ConfigurationError(
            f"metrics_port: {told.replace('--host', 'REWARDD_METRICS_HOST')}"
        ) from error


def _bound(family: int, kind: int, protocol: int, address: object) -> socket.socket:
    held = socket.socket(family, kind, protocol)
    try:
        # A port whose last connections linger is free all the same.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        held.bind(address)  # type: ignore[arg-type]  # as getaddrinfo gave it
    except OSError:
        held.close()
        raise
    return held


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} of {host} is in use; stop who listens there, or choose another with "
            "--port (0 takes a free one)"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"port {port} of {host} is not allowed to this user; choose one above 1023 with --port"
        )
    return (
        f"{host} port {port} can't be listened on ({_reason(error)}); choose another with --host "
        "and --port"
    )


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


def check_checkpoint(name: str) -> None:
    """Look at a directory's files; what only the hub may know is left to loading."""
    place = Path(name)
    if not place.is_dir():
        is_path = place.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1
        if is_path or place.exists():
            resolve_directory(name)  # says that it is not there, or is a file
        return
    if not (Path(name) / ADAPTER_CONFIG).is_file():
        inspect_files(Path(name))


def _check_state(directory: Path) -> None:
    try:
        make_state_directory(directory)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        if has_been_here(directory / STATE_FILE):
            return  # a disk that fails is the streams' fault alone: see GET /health/state
        raise ConfigurationError(
            f"state_dir {directory} can't be written ({_reason(error)}); name another with "
            "--state-dir"
        ) from error
    check_database(directory / STATE_FILE)
