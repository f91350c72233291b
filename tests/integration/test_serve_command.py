"""What `rewardd serve` says: JSON alone to a log, sentences to a person on a terminal."""

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.models import make_tokenizer, save_checkpoint
from tests.server_process import server_process


def test_every_line_of_a_servers_output_is_json_where_nobody_looks(tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path / "model", "llama", tokenizer=make_tokenizer())
    # Warnings shown and bars wanted: all that libraries could write past the log.
    online = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    given = {**online, "PYTHONWARNINGS": "always", "TRANSFORMERS_VERBOSITY": "info"}
    calls = tmp_path / "calls"  # to other machines: nobody is asked for a local checkpoint
    command = ("rewardd", "serve", "--helpfulness-model", str(checkpoint))
    audited = ("tests.chaos.audited", str(calls), *command)
    with server_process(tmp_path, *audited, environment=given) as server:
        item = {"prompt": "p", "response": "r", "is_safety": True}
        assert httpx.post(f"{server.url}/score", json=item).status_code == 200
        assert httpx.post(f"{server.url}/score", content=b"{").status_code >= 400
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0

    events = [json.loads(line) for line in server.log.read_text().splitlines()]

    assert calls.read_text() == ""
    names = [event["event"] for event in events]
    assert {"loading", "loaded", "listening", "request", "stopped"} <= set(names)
    (listening,) = (event for event in events if event["event"] == "listening")
    assert listening["url"] == server.url
    assert f"{server.url}/score" in listening["try_it"]


def lines_of(terminal: int) -> Iterator[str]:
    """What is written to a terminal, line by line, until nobody has it open any more."""
    with os.fdopen(terminal, encoding="utf-8", newline="") as reader:
        try:
            for line in reader:
                yield line.rstrip("\r\n")
        except OSError:  # how Linux says that the other side has gone
            return


def test_a_person_on_a_terminal_reads_where_it_listens_and_can_paste_what_to_try(
    tmp_path: Path,
) -> None:
    ours, theirs = pty.openpty()
    given = {**os.environ, "REWARDD_PORT": "0", "REWARDD_STATE_DIR": str(tmp_path / "state")}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.fake_server"],
        env=given,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    lines = lines_of(ours)
    try:
        said = []
        for line in lines:
            said.append(line)
            if line.startswith("  try it: "):
                break
        pasted = shlex.split(said[-1].removeprefix("  try it: "))
        reply = json.loads(subprocess.check_output(pasted, timeout=20))
        process.send_signal(signal.SIGINT)
        said += list(lines)
        assert process.wait(20) == 0
    finally:
        process.kill()

    assert reply["selected"] in ("safety", "helpfulness")
    assert not [line for line in said if line.startswith("{")]
    text = "\n".join(said)
    assert re.search(r"^\d\d:\d\d:\d\d listening .*url=http://127\.0\.0\.1:\d+", text, re.MULTILINE)
    assert "Traceback" not in text


@pytest.mark.parametrize("terminal", [True, False])
def test_what_is_missing_is_one_sentence(tmp_path: Path, *, terminal: bool) -> None:
    ours, theirs = pty.openpty() if terminal else os.pipe()
    command = [sys.executable, "-m", "rewardd", "serve", "--state-dir", str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs)
    os.close(theirs)
    (line,) = lines_of(ours)

    assert process.wait(20) == 2
    sentence = line.removeprefix("rewardd serve: ") if terminal else json.loads(line)["reason"]
    assert sentence.startswith("no reward model is named; name a safety or helpfulness model:")


def test_ctrl_c_while_models_are_loaded_ends_at_once_without_a_traceback(tmp_path: Path) -> None:
    program = (
        "import time, rm_core.engine\n"
        "def load(*_, **__):\n    print('begun', flush=True)\n    time.sleep(120)\n"
        "rm_core.engine.load_engine = load\n"
        "from rewardd.cli import main\n"
        "main()\n"
    )
    checkpoint = save_checkpoint(tmp_path / "model", "llama", tokenizer=make_tokenizer())
    flags = ["--helpfulness-model", str(checkpoint), "--port", "0"]
    command = [sys.executable, "-c", program, "serve", *flags, "--state-dir", str(tmp_path)]
    given = {**os.environ, "REWARDD_LOG_PRINTS": "false"}
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(command, env=given, stdout=subprocess.PIPE, stderr=log) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        process.send_signal(signal.SIGINT)
        try:
            code = process.wait(60)  # loading takes two minutes
        finally:
            process.kill()

    assert code == -signal.SIGINT  # which a shell reports as 130
    assert "Traceback" not in (tmp_path / "log").read_text()
