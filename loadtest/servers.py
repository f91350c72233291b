"""The servers that `compare` measures, one at a time: started and stopped, or asked by URL."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from loadtest.connections import Origin
from loadtest.errors import LoadTestError, PeerError
from loadtest.generator import Endpoint, Target, wait_until_ready
from loadtest.peers import Peer
from loadtest.work import processes_of

STOP_SECONDS = 30.0
REMOTE_SECONDS = 30.0
_TAIL_LINES = 15


@dataclass(frozen=True, slots=True)
class Launch:
    """How a peer's servers are started on this machine.

    Attributes:
        peer: the adapter.
        python: interpreter of the environment that the peer is installed in.
        command: overrides the adapter's command; same placeholders.
        threads: cores for all its servers together.
        start_seconds: how long one may take until it is ready.
    """

    peer: Peer
    python: str = sys.executable
    command: tuple[str, ...] = ()
    threads: int = 2
    start_seconds: float = 300.0

    @contextmanager
    def running(self, models: Mapping[str, Path]) -> Iterator[Target]:
        """Start the servers for these models, by role, and stop them at the end.

        One server for all where the peer can hold them all, else one for each, which then share
        the cores.

        Raises:
            PeerError: a server ended, or is not ready in time; the message holds its last words.
        """
        with ExitStack() as stack:
            if self.peer.holds_both:
                flags = [w for role, path in models.items() for w in (f"--{role}-model", str(path))]
                port, session = stack.enter_context(
                    self._server(_cores(0, self.threads), None, flags)
                )
                endpoints = [Endpoint(Origin("127.0.0.1", port), session=session)]
            else:
                threads = max(1, self.threads // len(models))
                endpoints = []
                for number, (role, path) in enumerate(models.items()):
                    cores = _cores(number * threads, threads)
                    port, session = stack.enter_context(self._server(cores, path, []))
                    origin = Origin("127.0.0.1", port)
                    endpoints.append(Endpoint(origin, role=role, session=session))
            yield Target(self.peer, tuple(endpoints), {})

    @contextmanager
    def _server(
        self, cores: Sequence[int], model: Path | None, flags: Sequence[str]
    ) -> Iterator[tuple[int, int]]:
        """One server; yields its port and the session that it runs in, once it is ready."""
        threads = len(cores)
        template = self.command or self.peer.command
        if template is None:
            raise LoadTestError(
                f"{self.peer.name} can't be started from here; give it a command "
                f"(--command {self.peer.name}='… {{model}} … {{port}}')"
            )
        port = free_port()
        with tempfile.TemporaryDirectory(prefix="loadtest-") as scratch:
            log = Path(scratch) / "log"
            values = {
                "python": self.python,
                "port": str(port),
                "threads": str(threads),
                "cores": ",".join(map(str, cores)),
                "environment": str(Path(self.python).parent.parent),
                "model": "" if model is None else str(model),
                "scratch": scratch,
            }
            words = [word.format(**values) for word in template]
            # OMP_NUM_THREADS before the process starts: a library that sets its threads late has
            # made its pool by then. A server that is told its cores sets their number itself, in
            # each of its processes. No hub: a model is a directory here.
            binds = any("{cores}" in word for word in template)
            limit = ["-u", "OMP_NUM_THREADS"] if binds else [f"OMP_NUM_THREADS={threads}"]
            command = ["env", *limit, "HF_HUB_OFFLINE=1", *words, *flags]
            with log.open("wb") as output:
                process = subprocess.Popen(  # noqa: S603 - no shell
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            try:
                self._wait(process, port, log)
                yield port, process.pid  # that began its session
            finally:
                stop(process)

    def _wait(self, process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
        target = Target(self.peer, (Endpoint(Origin("127.0.0.1", port)),), {})
        waited = 0.0
        while True:
            try:
                wait_until_ready(target, timeout_seconds=1.0)
            except PeerError as exc:
                waited += 1.0
                if process.poll() is not None:
                    hint = f" (needs: {self.peer.needs})" if self.peer.needs else ""
                    raise PeerError(f"{self.peer.name} ended{hint}:\n{_tail(log)}") from exc
                if waited >= self.start_seconds:
                    raise PeerError(f"{exc}:\n{_tail(log)}") from exc
            else:
                return


@dataclass(frozen=True, slots=True)
class Remote:
    """A peer that somebody else has started.

    Attributes:
        peer: the adapter.
        urls: of its servers, in the order of the models.
    """

    peer: Peer
    urls: tuple[str, ...]

    @contextmanager
    def running(self, models: Mapping[str, Path]) -> Iterator[Target]:
        """The servers for these models, by role; they are neither started nor stopped.

        Raises:
            PeerError: there are fewer than models, or one does not answer.
        """
        roles = ["both"] if self.peer.holds_both else list(models)
        if len(self.urls) < len(roles):
            raise PeerError(
                f"{self.peer.name} holds one model a server; give a URL for each of "
                f"{', '.join(roles)} (--peer {self.peer.name}=URL,URL)"
            )
        endpoints = [
            Endpoint(Origin.of(url), role=role) for url, role in zip(self.urls, roles, strict=False)
        ]
        target = Target(self.peer, tuple(endpoints), {})
        wait_until_ready(target, timeout_seconds=REMOTE_SECONDS)
        yield target


@dataclass(slots=True)
class Kept:
    """A peer whose servers stay up between its turns, and stand still while others have theirs.

    A stopped process takes no time of any core: as alone as if the others had not been started.

    Attributes:
        launch: what starts it.
        stack: stops its servers at its end.
    """

    launch: Launch | Remote
    stack: ExitStack
    _targets: dict[tuple[str, ...], Target] = field(default_factory=dict)

    @property
    def peer(self) -> Peer:
        """The adapter."""
        return self.launch.peer

    @contextmanager
    def running(self, models: Mapping[str, Path]) -> Iterator[Target]:
        """The servers for these models, started by the first who asks.

        Raises:
            PeerError: see `Launch.running`.
        """
        roles = tuple(models)
        if roles not in self._targets:
            target = self.stack.enter_context(self.launch.running(models))
            self._targets[roles] = target
            # One that stands still would not hear that it is to end.
            self.stack.callback(send_signal, target, signal.SIGCONT)
        target = self._targets[roles]
        send_signal(target, signal.SIGCONT)
        try:
            yield target
        finally:
            send_signal(target, signal.SIGSTOP)


def send_signal(target: Target, number: signal.Signals) -> None:
    """Send a signal to every process of the servers that were started here."""
    for process in processes_of(target):
        with suppress(ProcessLookupError):
            os.kill(process, number)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Ask a server and its children to end; kill what does not."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    # Worker processes are in the session that we started; what is left of it goes too.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _cores(first: int, count: int) -> list[int]:
    """So many of the cores that this process may use, from the first-th on, round and round.

    A server that binds its threads to cores must not be bound to another's.
    """
    allowed = sorted(os.sched_getaffinity(0))
    return [allowed[(first + step) % len(allowed)] for step in range(count)]


def parse_command(text: str) -> tuple[str, ...]:
    """A command line as words."""
    return tuple(shlex.split(text))


def _tail(log: Path) -> str:
    lines = log.read_text("utf-8", errors="replace").splitlines()
    return "\n".join(lines[-_TAIL_LINES:])
