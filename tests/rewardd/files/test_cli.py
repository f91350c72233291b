"""The commands as processes: a server and our own models agree, and a killed run loses nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rewardd.cli import app
from tests.rewardd.conftest import WriteLines
from tests.rm_client.servers import real_server

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def server_url(
    checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A real server with both models, as a process of its own."""
    with real_server(tmp_path_factory.mktemp("server"), *local(checkpoints)) as url:
        yield url


def local(checkpoints: dict[str, Path]) -> list[str]:
    return [
        *("--safety-model", str(checkpoints["safety"])),
        *("--helpfulness-model", str(checkpoints["helpfulness"])),
    ]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "rewardd", *map(str, arguments)]


def rewardd(
    *arguments: object, code: int = 0, **options: Any
) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        command(*arguments),
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env=ENVIRONMENT,
        **options,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def mixed_rows(count: int) -> list[Any]:
    """Rows of every form, with further columns, and bad ones among them."""
    rows: list[Any] = []
    for i in range(count):
        forms: list[Any] = [
            {"id": i, "prompt": f"Question {i}?", "response": f"Answer {i}. " * (i % 9 + 1)},
            {
                "prompt": f"Question {i}?",
                "responses": [f"A {i}", "B", " "],
                "source": {"a": [None]},
            },
            {
                "messages": [
                    {"role": "user", "content": f"Question {i}?"},
                    {"role": "assistant", "content": f"Answer {i}."},
                ],
                "is_safety": i % 2 == 0,
            },
            {"prompt": "p", "response": "", "kept": 1.5},
            b'{"prompt": "p", "respon',
            {"prompt": "x" * 2000, "response": "too long"},
            {"prompt": 7, "response": "r", "kept": "ü"},
        ]
        rows.append(forms[i % 7 if i % 3 else 0])
    return rows


def assert_same(ours: Any, theirs: Any) -> None:
    """Equal in everything, numbers to what float32 in other packs allows."""
    assert type(ours) is type(theirs)
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for key in ours:
            assert_same(ours[key], theirs[key])
    elif isinstance(ours, list):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
    elif isinstance(ours, float):
        assert ours == pytest.approx(theirs, abs=1e-4)  # advantages divide by a small std
    else:
        assert ours == theirs


def test_a_server_and_our_own_models_write_the_same_file(
    server_url: str, checkpoints: dict[str, Path], write_lines: WriteLines, tmp_path: Path
) -> None:
    rows = mixed_rows(200)
    source = write_lines(rows)

    by_server = rewardd("score", source, "-o", tmp_path / "server.jsonl", "--url", server_url)
    rewardd("score", source, "-o", tmp_path / "local.jsonl", *local(checkpoints))

    ours, theirs = read(tmp_path / "local.jsonl"), read(tmp_path / "server.jsonl")
    assert len(ours) == len(rows)
    assert_same(ours, theirs)
    for row, written in zip(rows, ours, strict=True):
        written.pop("rewardd")
        assert written == ({} if isinstance(row, bytes) else row)
    assert "200 rows" in by_server.stderr
    assert "have an error" in by_server.stderr


def test_comparisons_by_a_server_and_by_our_own_models_are_the_same(
    server_url: str, checkpoints: dict[str, Path], write_lines: WriteLines, tmp_path: Path
) -> None:
    rows = [
        {"prompt": f"Q{i}", "chosen": f"good {i}" if i % 10 else "", "rejected": "bad", "id": i}
        for i in range(100)
    ]
    pairs = ("--responses-column", "chosen", "--responses-column", "rejected", "--prefix", "judged")
    source = write_lines(rows)

    rewardd("compare", source, "-o", tmp_path / "s.jsonl", "--url", server_url, *pairs)
    rewardd("compare", source, "-o", tmp_path / "l.jsonl", *local(checkpoints), *pairs)

    ours = read(tmp_path / "l.jsonl")
    assert_same(ours, read(tmp_path / "s.jsonl"))
    assert [row["id"] for row in ours] == list(range(100))
    assert ours[0]["judged"]["error"]["pointer"] == "/responses/0"
    assert ours[1]["judged"]["winner"] in (0, 1)


def test_a_run_that_is_killed_goes_on_and_ends_as_if_it_never_was(
    server_url: str, write_lines: WriteLines, tmp_path: Path
) -> None:
    source = write_lines(mixed_rows(3000))
    whole, killed = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    flags = ["--url", server_url]
    rewardd("score", source, "-o", whole, *flags)

    num_killed = 0
    for enough in (1, 100_000, 300_000):
        process = subprocess.Popen(
            command("score", source, "-o", killed, *flags),
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and size_of(killed) < enough:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        num_killed += process.wait(30) == -signal.SIGKILL
    with killed.open("r+b") as file:  # as a kill within the write of a line leaves it
        file.truncate(size_of(killed) - 5)
    there = killed.read_bytes()
    num_there = there.count(b"\n")
    assert num_killed == 3
    assert 0 < num_there < 3000

    last = rewardd("score", source, "-o", killed, *flags)

    assert f"{num_there} were there already" in last.stderr
    assert killed.read_bytes().startswith(there[: there.rfind(b"\n") + 1])
    assert_same(read(killed), read(whole))
    again = rewardd("score", source, "-o", killed, *flags)
    assert "0 rows" in again.stderr


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def test_standard_input_and_output_make_a_pipe(server_url: str) -> None:
    rows = '{"prompt": "p", "response": "r"}\n' * 3

    done = rewardd("score", "-", "-o", "-", "--url", server_url, input=rows)

    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [set(result) for result in results] == [{"prompt", "response", "rewardd"}] * 3


def test_a_reader_that_has_enough_is_no_failure(server_url: str, write_lines: WriteLines) -> None:
    source = write_lines([{"prompt": "p", "response": f"r{i}"} for i in range(3000)])
    process = subprocess.Popen(
        command("score", source, "-o", "-", "--url", server_url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    errors = process.stderr.read()
    process.stderr.close()

    assert process.wait(60) == 0
    assert errors == b""


def test_info_says_the_same_of_the_same_models(
    server_url: str, checkpoints: dict[str, Path]
) -> None:
    ours = json.loads(rewardd("info", *local(checkpoints)).stdout)
    theirs = json.loads(rewardd("info", "--url", server_url).stdout)

    for part in ("service", "models", "engine", "selection"):
        assert ours[part] == theirs[part]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "either a server"),
        (("--url", "http://127.0.0.1:1", "--safety-model", "m"), "either a server"),
        (("--url", "nonsense"), "http://"),
        (("--safety-model", "/nowhere"), "/nowhere"),
        (("--url", "http://127.0.0.1:1", "--api-key-file", "/nowhere"), "key's file"),
        (("--url", "http://127.0.0.1:1", "-o", "out.jsonl.gz"), "| gzip"),
        (("--url", "http://127.0.0.1:1", "-o", "{source}"), "another file"),
    ],
)
def test_a_run_that_cannot_begin_says_why_in_one_line(
    flags: tuple[str, ...], message: str, write_lines: WriteLines, tmp_path: Path
) -> None:
    source = write_lines([{"prompt": "p", "response": "r"}])
    named = [flag.replace("{source}", str(source)) for flag in flags]

    done = CliRunner().invoke(app, ["score", str(source), "-o", f"{tmp_path}/out.jsonl", *named])

    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert message in line
