"""A `rewardd serve` of one's own: started as a process, waited for, watched and stopped."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

_POLL_SECONDS = 0.1
_PROBE_SECONDS = 2.0
_TAIL_LINES = 15


class ServerFailed(Exception):
    """Raised when the server ends by itself, or is not ready in time; holds its last words."""


class ServerProcess:
    """The server as a child process, stopped when the context ends.

    The child leads a session of its own, so that Ctrl-C reaches it only through us, and it can
    finish what it accepted.

    Args:
        flags: of `rewardd serve`, without the port.
        port: to listen on; 0 takes a free one.
        log: file that the server's output is written to.
        stop_seconds: how long it may take to finish after SIGTERM before it is killed.
    """

    def __init__(
        self, flags: Sequence[str], *, port: int, log: Path, stop_seconds: float = 60.0
    ) -> None:
        self._flags = list(flags)
        self._port = port
        self._port_file = log.with_name("port")
        self._log = log
        self._stop_seconds = stop_seconds
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._port_file.unlink(missing_ok=True)
        # -P: a folder "rewardd" in the working directory is not our package.
        command = [sys.executable, "-P", "-m", "rewardd", "serve", *self._flags]
        command += ["--port", str(self._port), "--port-file", str(self._port_file)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def wait_until_ready(self, timeout_seconds: float = 120.0) -> str:
        """Wait for /health/ready.

        Returns:
            The server's base URL.

        Raises:
            ServerFailed: it ended, or is not ready in time.
        """
        deadline = time.monotonic() + timeout_seconds
        with httpx.Client(timeout=_PROBE_SECONDS, trust_env=False) as client:
            while time.monotonic() < deadline:
                if self._running().poll() is not None:
                    raise ServerFailed(f"the server ended before it was ready:\n{self.log_tail()}")
                url = self._url()
                if url is not None and _is_ready(client, url):
                    return url
                time.sleep(_POLL_SECONDS)
        raise ServerFailed(
            f"the server is not ready after {timeout_seconds:.0f} s:\n{self.log_tail()}"
        )

    def wait(self) -> None:
        """Wait for the server's end, which is not expected.

        Raises:
            ServerFailed: always, once it ended.
        """
        code = self._running().wait()
        raise ServerFailed(f"the server ended with exit code {code}:\n{self.log_tail()}")

    def stop(self) -> None:
        """Ask the server to end, and wait; a second Ctrl-C, or too long a wait, kills it."""
        process = self._running()
        process.terminate()  # does nothing if it has ended
        try:
            process.wait(timeout=self._stop_seconds)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill()
            process.wait()

    def log_tail(self) -> str:
        """The server's last lines."""
        lines = self._log.read_text("utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:])

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the server is used outside of its context: this is a bug")
        return self._process

    def _url(self) -> str | None:
        try:
            port = int(self._port_file.read_text("ascii"))
        except (FileNotFoundError, ValueError):
            return None  # not bound yet, or not written to the end
        return f"http://127.0.0.1:{port}"


def _is_ready(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(f"{url}/health/ready").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
