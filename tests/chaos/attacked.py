"""A server process that is attacked, and what can be seen of it from outside."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.server_process import ServerProcess, server_process


@dataclass(frozen=True)
class AttackedServer(ServerProcess):
    """A server of a process of its own, observed by /proc and by its open routes."""

    @property
    def pid(self) -> int:
        return self.process.pid

    def resident_bytes(self) -> int:
        """What the process holds in memory now (VmRSS)."""
        return self._status("VmRSS") * 1024

    def peak_resident_bytes(self) -> int:
        """The most that it ever held (VmHWM)."""
        return self._status("VmHWM") * 1024

    def cpu_seconds(self) -> float:
        """What the process has used of processors so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def num_open_files(self) -> int:
        """Its descriptors: sockets, files, pipes."""
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def num_threads(self) -> int:
        return self._status("Threads")

    def _status(self, name: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text("ascii").splitlines():
            key, _, value = line.partition(":")
            if key == name:
                return int(value.split()[0])
        raise AssertionError(f"no {name} of process {self.pid}")

    @asynccontextmanager
    async def watched(self, path: str = "/health/live") -> AsyncIterator["Watched"]:
        """Ask `path` again and again, on a new connection each time, while something goes on."""
        watched = Watched()
        task = asyncio.create_task(watched.ask(self.url + path))
        try:
            yield watched
        finally:
            watched.enough.set()
            await task


@dataclass
class Watched:
    """How a route answered while something went on.

    Attributes:
        seconds: how long each answer took.
        statuses: each answer's status; 0 where none came.
        enough: set it to stop asking.
    """

    seconds: list[float] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, url: str, *, pause_seconds: float = 0.01) -> None:
        while not self.enough.is_set():
            began = time.monotonic()
            try:
                async with httpx.AsyncClient(timeout=30) as client:
                    status = (await client.get(url)).status_code
            except httpx.HTTPError:
                status = 0
            self.statuses.append(status)
            self.seconds.append(time.monotonic() - began)
            try:
                async with asyncio.timeout(pause_seconds):
                    await self.enough.wait()
            except TimeoutError:
                pass


@contextmanager
def attacked_server(
    directory: Path, module: str, environment: Mapping[str, str]
) -> Iterator[AttackedServer]:
    """Run `python -m MODULE` with this environment's variables beside the test's own."""
    number = len(list(directory.glob("server-*")))
    variables = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "REWARDD_STATE_DIR": str(directory / "state"),
        **environment,
    }
    with server_process(directory / f"server-{number}", module, environment=variables) as server:
        yield AttackedServer(server.process, server.port, server.log)
