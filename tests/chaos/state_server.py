"""The fake server with a state whose disk or clock can be attacked from outside.

STATE_DISK_BYTES puts the state on a file system of its own, of that size, which only this process
sees (the attacker through /proc/PID/root); STATE_READ_ONLY lets it see the state's own read-only.
STATE_CLOCK_FILE names a file with seconds that the wall
clock is wrong by, read each time. PROTECTION=off takes away what the attack is to meet.
"""

import os
import sys
import time
from pathlib import Path

MODULE = "tests.chaos.state_server"


def mount(commands: str) -> None:
    """Begin again in a mount namespace of one's own, where these commands have been run."""
    directory = Path(os.environ["REWARDD_STATE_DIR"])
    directory.mkdir(parents=True, exist_ok=True)
    os.environ |= {"DIRECTORY": str(directory), "PY": sys.executable, "MOUNTED": "1"}
    script = f'{commands} && exec "$PY" -m {MODULE}'
    os.execvp("unshare", ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script])


def mislead_the_clock(offset_file: Path) -> None:
    """Let time.time be wrong by what the file says."""
    true_time = time.time
    time.time = lambda: true_time() + float(offset_file.read_text("ascii"))


def unprotect() -> None:
    """Tell no fault, let the state grow old by the wall clock, take no request for a retry."""
    from service.streams.faults import Fault, FaultWatch
    from service.streams.state_clock import StateClock
    from service.streams.unanswered_table import UnansweredRequests

    FaultWatch.begin = lambda _, error: Fault.of(error)  # type: ignore[method-assign]
    UnansweredRequests.claim = lambda *_, **__: None  # type: ignore[method-assign]
    StateClock.now = lambda *_: time.time()  # type: ignore[method-assign]


if __name__ == "__main__":
    if "STATE_DISK_BYTES" in os.environ and "MOUNTED" not in os.environ:
        mount('mount -t tmpfs -o size="$STATE_DISK_BYTES" none "$DIRECTORY"')
    if "STATE_READ_ONLY" in os.environ and "MOUNTED" not in os.environ:
        mount('mount --bind "$DIRECTORY" "$DIRECTORY" && mount -o remount,bind,ro "$DIRECTORY"')
    if "STATE_CLOCK_FILE" in os.environ:
        mislead_the_clock(Path(os.environ["STATE_CLOCK_FILE"]))
    from service.observability.logs import configure_logging
    from service.server import serve
    from service.settings import Settings
    from tests.fakes import FakeScorer

    if os.environ.get("PROTECTION") == "off":
        unprotect()
    settings = Settings.load()
    configure_logging(settings.log_level)
    sys.exit(serve(settings, FakeScorer()))
