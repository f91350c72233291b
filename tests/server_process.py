"""A server as a process of its own, for tests of any package."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class ServerProcess:
    """A process that listens on a port of this machine; what it says goes to `log`."""

    process: "subprocess.Popen[bytes]"
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def server_process(
    directory: Path, *command: str, environment: Mapping[str, str], python: str = sys.executable
) -> Iterator[ServerProcess]:
    """Run `python -m COMMAND` until the context ends; port file and log in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    port_file, log = directory / "port", directory / "log"
    own = {
        "REWARDD_PORT": "0",
        "REWARDD_PORT_FILE": str(port_file),
        "REWARDD_STATE_DIR": environment.get("REWARDD_STATE_DIR", str(directory / "state")),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python, "-m", *command],
            cwd=ROOT,
            # What a test saves it trusts; the trial's own tests say otherwise.
            env={"REWARDD_CHECKPOINT_TRIAL_SECONDS": "0", **environment, **own},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        give_up = time.monotonic() + 120
        while not (port_file.exists() and port_file.read_text()):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < give_up, f"no port in time:\n{log.read_text()}"
            time.sleep(0.02)
        yield ServerProcess(process, int(port_file.read_text()), log)
    finally:
        process.kill()
        process.wait(10)
