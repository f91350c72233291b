"""The child that tries checkpoints: it imports the libraries once, and forks for every trial.

`rm_core.checkpoint.trial` runs its `main` in a process of its own, which answers
each line of JSON on its standard input with one on its standard output. It never has a second
thread, so that a fork of it is whole; the fork gets the limits, and the child outlives it.
"""

import ctypes
import json
import math
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

FORBIDDEN_EVENTS = {
    "socket.connect": "reach the network",
    "socket.bind": "listen on the network",
    "socket.getaddrinfo": "look up a host",
    "subprocess.Popen": "start a program",
    "os.system": "start a program",
    "os.exec": "start a program",
    "os.posix_spawn": "start a program",
    "os.fork": "start a process",
}
"""Events of Python's audit that no checkpoint's loading raises, and what each means."""

OVERSIZE = 2
"""A model may ask for so many times the numbers that its files hold: what it lacks is told by name
later, and a size that would fill memory with random numbers is refused here."""

SPARE_NUMBERS = 50_000_000
SPARE_BUFFER_BYTES = 2 * 1024**3
MAX_TOKENS_PER_CHARACTER = 64
_PROBE = "".join(
    ["Where is the Eiffel tower? It stands in Paris, on the Champ de Mars; 330 m. 😀 été\n"]
    + [run * 256 for run in ("a", "x", " ", "\n", "1", "!", "aA", "é", "- ", "<|>")]
)
"""A text, and runs in which a vocabulary's patterns may go astray."""

_PR_SET_PDEATHSIG, _CLONE_NEWNET = 1, 0x40000000


def main() -> None:
    """Answer trials until the standard input ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.unshare(_CLONE_NEWNET)  # where that is allowed; what forbids is the audit hook
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    _import_libraries()
    answers.write(b"{}\n")
    for line in sys.stdin.buffer:
        answers.write(json.dumps(_in_fork(json.loads(line))).encode() + b"\n")


def _import_libraries() -> None:
    """Import what every trial needs, much of which comes only as a first model is built."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    import rm_core.checkpoint.tokenizer  # noqa: F401

    torch.set_num_threads(1)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 8}
    with torch.device("meta"):
        AutoModelForSequenceClassification.from_config(AutoConfig.for_model("llama", **sizes))


def _in_fork(job: dict[str, Any]) -> dict[str, Any]:
    """One trial; what became of it, whatever it did."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            _limit(job)
            _forbid(writing)
            _try(job, writing)
            _say(writing, {"outcome": "passed"})
        except _Refused as refused:
            _say(writing, {"outcome": refused.outcome, "told": str(refused)})
        except BaseException as error:
            _say(writing, {"outcome": "ended", "told": type(error).__name__})
        finally:
            os._exit(0)
    os.close(writing)
    try:
        return _outcome(child, reading, until=time.monotonic() + 4 * float(job["seconds"]))
    finally:
        os.close(reading)


def _outcome(child: int, reading: int, *, until: float) -> dict[str, Any]:
    said, found = b"", {"phase": "", "outcome": ""}
    while True:
        left = until - time.monotonic()
        if left <= 0 or not select.select([reading], [], [], left)[0]:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return {**_latest(said, found), "outcome": "too_long"}
        part = os.read(reading, 65536)
        if not part:
            break
        said += part
    _, status = os.waitpid(child, 0)
    found = _latest(said, found)
    if found["outcome"]:
        return found
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if number in (signal.SIGXCPU, signal.SIGKILL):
        return {**found, "outcome": "too_long"}
    return {**found, "outcome": "ended", "told": signal.Signals(number).name if number else "exit"}


def _latest(said: bytes, found: dict[str, Any]) -> dict[str, Any]:
    for line in said.splitlines():
        with suppress(ValueError):  # one that was cut off
            found = {**found, **json.loads(line)}
    return found


def _say(writing: int, what: dict[str, Any]) -> None:
    os.write(writing, json.dumps(what).encode() + b"\n")


def _limit(job: dict[str, Any]) -> None:
    seconds = max(1, round(job["seconds"]))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    memory = pages * resource.getpagesize() + int(job["memory_bytes"])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _forbid(writing: int) -> None:
    def refuse(event: str, args: tuple[Any, ...]) -> None:
        what = FORBIDDEN_EVENTS.get(event)
        if event == "import" and str(args[0]).startswith("transformers_modules"):
            what = "run code of its own"
        if what is not None:
            _say(writing, {"outcome": "forbidden", "told": what})
            os._exit(0)

    sys.addaudithook(refuse)


def _try(job: dict[str, Any], writing: int) -> None:
    directory = Path(job["directory"])
    if job["weights"]:
        _say(writing, {"phase": "model"})
        with _told_later():
            model = _model(directory)
            _refuse_if(_why_oversized(model, [Path(path) for path in job["weights"]]))
            if job["adapter"]:
                _say(writing, {"phase": "adapter"})
                _refuse_if(_why_adapter_oversized(model, Path(job["adapter"])))
    _say(writing, {"phase": "tokenizer"})
    with _told_later():
        _refuse_if(_why_overlong(directory))


class _Refused(BaseException):
    """Raised to end a trial, through whatever catches exceptions."""

    def __init__(self, outcome: str, told: str) -> None:
        super().__init__(told)
        self.outcome = outcome


def _refuse_if(told: str | None) -> None:
    if told is not None:
        raise _Refused("too_large", told)


@contextmanager
def _told_later() -> Iterator[None]:
    """What a library can't load, it says in its own words when it is loaded; but for memory."""
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, MemoryError) or "memory" in str(cause):
                raise _Refused("ended", "out of memory") from error
            cause = cause.__cause__ or cause.__context__


def _model(directory: Path) -> Any:
    """The model that a configuration asks for, without weights."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    from rm_core.checkpoint.padding import without_unknown_pad

    options = without_unknown_pad(directory)
    config = AutoConfig.from_pretrained(
        directory, trust_remote_code=False, local_files_only=True, **options
    )
    with torch.device("meta"):
        return AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)


def _num_held(weights: Sequence[Path]) -> int:
    from rm_core.checkpoint.weights import stored_tensors

    return sum(math.prod(tensor.shape) for tensor in stored_tensors(weights).values())


def _why_oversized(model: Any, weights: Sequence[Path]) -> str | None:
    """Why a model is too large for its files; None where it isn't."""
    held = _num_held(weights)
    wanted = sum(parameter.numel() for parameter in model.parameters())
    if wanted > OVERSIZE * held + SPARE_NUMBERS:
        return f"config.json asks for a model of {wanted} numbers, and its files hold {held}"
    buffers = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    if buffers > SPARE_BUFFER_BYTES + 4 * held:
        return f"config.json asks for {buffers} bytes beside the weights"
    return None


def _why_adapter_oversized(model: Any, directory: Path) -> str | None:
    """Why an adapter is too large for its files; None where it isn't."""
    import torch
    from peft import LoraConfig, PeftModelForSequenceClassification

    from rm_core.checkpoint.adapters import WEIGHTS, inspect_adapter

    before = sum(parameter.numel() for parameter in model.parameters())
    config = LoraConfig(task_type="SEQ_CLS", **inspect_adapter(directory).options)
    with torch.device("meta"):
        adapted = PeftModelForSequenceClassification(model, config)
    held = _num_held([directory / WEIGHTS])
    wanted = sum(parameter.numel() for parameter in adapted.parameters()) - before
    if wanted > OVERSIZE * held + SPARE_NUMBERS:
        return f"adapter_config.json asks for {wanted} numbers, and its file holds {held}"
    return None


def _why_overlong(directory: Path) -> str | None:
    """Why a tokenizer makes too much of a text; None where it doesn't."""
    from rm_core.checkpoint.tokenizer import load_tokenizer

    tokenizer = load_tokenizer("it", directory)
    ids = tokenizer(_PROBE)["input_ids"]
    if len(ids) > MAX_TOKENS_PER_CHARACTER * len(_PROBE):
        return f"its tokenizer makes {len(ids)} tokens of {len(_PROBE)} characters"
    if tokenizer.chat_template is not None:
        with suppress(Exception):  # a template that wants other roles
            tokenizer.apply_chat_template(
                [{"role": "user", "content": _PROBE}, {"role": "assistant", "content": _PROBE}],
                tokenize=False,
            )
    return None
