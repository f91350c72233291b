"""One run of everything that is recorded: all servers, and the commands."""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import typer

from tests.integration.exact_models import save_exact_checkpoints
from tests.integration.wire import (
    API_KEY,
    RECORDINGS,
    ROOT,
    SERVERS,
    Exchange,
    WireServer,
    canonical_body,
    plain_environment,
    replay,
    serving,
)

COMMANDS = "commands"
OPTIONS = "command_options"
_ROWS = (
    {"prompt": "How do I bleed a radiator?", "response": "Turn the heating off first."},
    {"prompt": "Is 27 prime?", "responses": ["No: 27 = 3 × 9.", "Yes, it is prime.", "Yes."]},
    {"prompt": "Is 27 prime?", "response": " "},
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]},
    {"prompt": "Pick a lock?", "response": "I can't help with that.", "is_safety": True, "n": 7},
)
_PAIRS = (
    {"prompt": "Is 27 prime?", "chosen": "No: 27 = 3 × 9.", "rejected": "Yes, it is prime."},
    {"prompt": "Is 7 prime?", "chosen": "Yes.", "rejected": "Yes."},
    {"prompt": "Is 9 prime?", "chosen": "No.", "rejected": ""},
)
_PAIR_FLAGS = ("--responses-column", "chosen", "--responses-column", "rejected")


def areas() -> list[str]:
    """Names of all recordings."""
    served = [area for kind in SERVERS.values() for area in kind.areas]
    return [*served, COMMANDS, OPTIONS]


def read_recording(area: str) -> Any:
    """A recording as it lies on the disk."""
    return orjson.loads((RECORDINGS / f"{area}.json").read_bytes())


def observe(directory: Path) -> dict[str, Any]:
    """Every recording as it would be made now.

    Args:
        directory: an empty one for checkpoints, states and logs.
    """
    checkpoints = save_exact_checkpoints(directory)
    with ThreadPoolExecutor() as pool:
        jobs = [pool.submit(_serve, name, checkpoints, directory) for name in SERVERS]
        found = {OPTIONS: command_options()}
        for job in jobs:
            found |= job.result()
    return found


def _serve(name: str, checkpoints: Mapping[str, Path], directory: Path) -> dict[str, Any]:
    kind = SERVERS[name]
    found: dict[str, Any] = {}
    with serving(kind, checkpoints, directory / name) as server:
        for area in kind.areas:
            exchanges: list[Exchange] = read_recording(area)
            found[area] = replay(server, exchanges)
        if name == "both":
            found[COMMANDS] = commands(server, checkpoints, directory / COMMANDS)
    return found


def commands(
    server: WireServer, checkpoints: Mapping[str, Path], directory: Path
) -> list[dict[str, Any]]:
    """What `rewardd score`, `compare` and `info` write, by a server and in their own process."""
    directory.mkdir()
    for name, rows in (("rows", _ROWS), ("pairs", _PAIRS)):
        (directory / f"{name}.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)) + b"\n")
    by_server = ("--url", server.url, "--api-key", API_KEY)
    here = [flag for role, path in checkpoints.items() for flag in (f"--{role}-model", str(path))]
    asked: list[tuple[str, Sequence[str]]] = [
        ("rewardd score rows.jsonl -o - (by a server)", by_server),
        ("rewardd score rows.jsonl -o - (in its own process)", here),
        ("rewardd compare pairs.jsonl -o - (by a server)", (*by_server, *_PAIR_FLAGS)),
        ("rewardd score missing.jsonl -o - (by a server)", by_server),
        ("rewardd info (by a server)", by_server),
        ("rewardd (without a command)", ()),
        ("rewardd score (without arguments)", ()),
    ]

    def run(title: str, flags: Sequence[str]) -> dict[str, Any]:
        words = title.partition(" (")[0].split()
        done = subprocess.run(
            [sys.executable, "-m", *words, *flags],
            cwd=directory,
            env=plain_environment() | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        found: dict[str, Any] = {"command": title, "exit_code": done.returncode}
        is_help = "Usage:" in done.stdout  # its layout may change
        return (
            found if is_help else found | {"stdout": canonical_body(server.normalise(done.stdout))}
        )

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda one: run(*one), asked))
    shutil.rmtree(directory)
    return found


def command_options() -> dict[str, Any]:
    """Names of every command's options and arguments, as `--help` lists them."""
    from rewardd.cli import app

    return dict(_options("rewardd", typer.main.get_command(app)))


def _options(name: str, command: Any) -> Iterator[tuple[str, list[str]]]:
    yield name, [_option(parameter) for parameter in command.params]
    inner = getattr(command, "commands", {})
    for each in sorted(inner):
        yield from _options(f"{name} {each}", inner[each])


def _option(parameter: Any) -> str:
    names = " / ".join([*parameter.opts, *parameter.secondary_opts])
    many = " ..." if parameter.multiple or parameter.nargs != 1 else ""
    return names + many + (" (required)" if parameter.required else "")
