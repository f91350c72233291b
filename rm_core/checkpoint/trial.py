"""A checkpoint tried in a process of its own, with limits, before it is loaded in this one.

A configuration may ask for 10⁹ layers, a tokenizer may make a million tokens of a word, a template
may never end. None of it runs code, and each would hang a server's start or take all memory. So a
child process reads the configuration, builds the model without weights, loads the tokenizer and
renders a few texts, within seconds of processor time and gigabytes of memory; only what it gets
through is loaded here, from the same open files.

Nothing in this module imports torch: `Trial.start` costs the caller a few milliseconds, and the
child's imports run beside the caller's own.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from rm_core.errors import CheckpointError, ConfigurationError, UnsafeCheckpoint

Phase = Literal["model", "adapter", "tokenizer"]
_DOING: dict[Phase, str] = {
    "model": "building its model as config.json says",
    "adapter": "putting its adapter on a base",
    "tokenizer": "loading its tokenizer and reading a few texts",
}


SPARE_SECONDS = 10.0
"""Beyond what the child gives each try, until it is the child that hangs."""

# This package, and not what lies where the caller is, which may be a checkpoint.
_RUN = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from rm_core.checkpoint.trial_process import main; main()"
)


@dataclass(frozen=True, slots=True)
class TrialLimits:
    """What one checkpoint may use in its trial.

    Attributes:
        seconds: of processor time; it may wait four times as long for a processor.
        memory_bytes: beyond what the libraries take.
        start_seconds: until the child has imported them.
    """

    seconds: float = 15.0
    memory_bytes: int = 4 * 1024**3
    start_seconds: float = 120.0


class Trial:
    """The child process, for as many checkpoints as its owner loads; one at a time.

    Args:
        limits: of each.
    """

    def __init__(self, limits: TrialLimits | None = None) -> None:
        self.limits = limits or TrialLimits()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ready = False

    def start(self) -> "Trial":
        """Start the child, whose imports then run beside what the caller does.

        Raises:
            ConfigurationError: no process can be started.
        """
        if self._process is None:
            command = [sys.executable, "-P", "-c", _RUN, str(Path(__file__).parents[2])]
            try:
                self._process = subprocess.Popen(  # noqa: S603 (this interpreter, this package)
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError as error:
                raise ConfigurationError(
                    f"no process can be started to try checkpoints in ({error.strerror}); allow "
                    "one more, or switch the trial off (checkpoint_trial_seconds 0)"
                ) from error
        return self

    def try_checkpoint(
        self, name: str, directory: Path, *, weights: Sequence[Path], adapter: Path | None = None
    ) -> None:
        """Try what is loaded of a directory.

        Args:
            name: of the checkpoint, for messages.
            directory: of links to its open files.
            weights: its files of weights, whose model is built; none: its tokenizer alone is tried.
            adapter: directory of the adapter that goes on the model; None for none.

        Raises:
            UnsafeCheckpoint: it tried to reach the network or to start a program.
            CheckpointError: it needs more than `limits`, or ended the process.
            ConfigurationError: the child can't be started, or has ended.
        """
        if not self._is_ready:
            self.start()
            self._ask(None, self.limits.start_seconds)
            self._is_ready = True
        job = {
            "directory": str(directory),
            "weights": [str(path) for path in weights],
            "adapter": None if adapter is None else str(adapter),
            **asdict(self.limits),
        }
        # The child itself ends each try in time; beyond that it is the child that hangs.
        found = self._ask(job, 5 * self.limits.seconds + SPARE_SECONDS)
        if found["outcome"] != "passed":
            raise _refusal(name, found, self.limits)

    def _ask(self, job: dict[str, Any] | None, seconds: float) -> dict[str, Any]:
        process = self._process
        assert process is not None and process.stdin and process.stdout  # noqa: S101, PT018
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        try:
            if job is not None:
                process.stdin.write(json.dumps(job).encode() + b"\n")
                process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:
            answer = b""
        finally:
            timer.cancel()
        if not answer:
            self.close()
            raise ConfigurationError(
                "the process in which checkpoints are tried ended without an answer; allow it "
                "memory for torch and transformers, or switch the trial off "
                "(checkpoint_trial_seconds 0)"
            )
        found: dict[str, Any] = json.loads(answer)
        return found

    def close(self) -> None:
        """End the child."""
        process, self._process, self._is_ready = self._process, None, False
        if process is not None:
            process.kill()
            process.communicate()

    def __enter__(self) -> "Trial":
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _refusal(name: str, found: dict[str, Any], limits: TrialLimits) -> CheckpointError:
    doing = _DOING.get(found["phase"], "trying it")
    outcome, told = found["outcome"], found.get("told", "")
    again = (
        "take another checkpoint; where you trust it, raise checkpoint_trial_seconds, or set it to "
        "0 to load without a trial"
    )
    reasons: dict[str, Callable[[], CheckpointError]] = {
        "forbidden": lambda: UnsafeCheckpoint(
            f"{name}: {doing} tried to {told}, which no checkpoint needs; rewardd runs no remote "
            "code"
        ),
        "too_long": lambda: CheckpointError(
            f"{name}: {doing} takes more than {limits.seconds:g} s of processor time; {again}"
        ),
        "too_large": lambda: CheckpointError(f"{name}: {told}; {again}"),
    }
    memory = limits.memory_bytes / 2**30
    ended = lambda: CheckpointError(  # noqa: E731
        f"{name}: {doing} ended the process that tried it ({told}), as what takes more than "
        f"{memory:.3g} GiB does; {again}"
    )
    return reasons.get(outcome, ended)()
