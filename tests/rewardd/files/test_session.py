import io
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console

from rewardd.files import session
from rewardd.files.columns import Columns
from rewardd.files.open import open_rows
from rewardd.files.remote import IMPATIENCE
from rewardd.files.rows import BatchFailed
from rewardd.files.run import Summary
from rewardd.files.session import (
    RunOptions,
    ScorerOptions,
    conclusion,
    failures_as_lines,
    row_progress,
    run_file,
)
from tests.rewardd.conftest import WriteLines
from tests.rm_client.servers import Seen, reply, scripted_server

RESULT = {"selected": "safety", "selected_reward": 1.0, "num_tokens": 1, "warnings": []}
FAILED = {"error": {"code": "empty_text", "detail": "Nothing to judge.", "pointer": ""}}


def console() -> Console:
    return Console(file=io.StringIO(), force_terminal=False, width=200)


def options(source: Path, output: Path, **more: Any) -> RunOptions:
    return RunOptions(
        command="score", input=str(source), output=str(output), columns=Columns(), **more
    )


@pytest.fixture
def source(write_lines: WriteLines) -> Path:
    """A file of one row."""
    return write_lines([{"prompt": "p", "response": "r"}])


def by(url: str) -> ScorerOptions:
    return ScorerOptions(url=url, timeout_seconds=5.0, max_pack_tokens=8192)


class Answers:
    """A server whose models' digest can change, and that gives every line the same result."""

    def __init__(self, result: dict[str, Any], digests: Iterator[str]) -> None:
        self._result = result
        self._digests = digests

    def __call__(self, handler: Any, seen: Seen) -> None:
        if seen.path == "/v1/info":
            models = {"safety": {"digest": next(self._digests), "template_hash": None}}
            reply(200, {"models": models, "engine": {}, "selection": {"tau": 0.15}})(handler, seen)
            return
        count = len(seen.body.splitlines())
        lines = [json.dumps({"index": i, **self._result}) for i in range(count)]
        reply(200, "\n".join(lines).encode())(handler, seen)


def test_a_run_tells_what_became_of_its_rows(write_lines: WriteLines, tmp_path: Path) -> None:
    source = write_lines([{"prompt": "p", "response": "r"}, b"{"])
    told = console()

    with scripted_server(Answers(RESULT, iter("aa"))) as server:
        run_file(options(source, tmp_path / "out.jsonl"), by(server.url), told)

    assert isinstance(told.file, io.StringIO)
    assert "2 rows in" in told.file.getvalue()
    assert "1 have an error, the first invalid_json: line 2" in told.file.getvalue()


def test_a_run_without_any_result_ends_as_a_failure(source: Path, tmp_path: Path) -> None:

    with scripted_server(Answers(FAILED, iter("aa"))) as server, pytest.raises(typer.Exit) as ended:
        run_file(options(source, tmp_path / "out.jsonl"), by(server.url), console())

    assert ended.value.exit_code == 1


def test_models_that_change_during_a_run_are_noticed(source: Path, tmp_path: Path) -> None:

    with (
        scripted_server(Answers(RESULT, iter("ab"))) as server,
        pytest.raises(BatchFailed, match="changed its models"),
    ):
        run_file(options(source, tmp_path / "out.jsonl"), by(server.url), console())


def test_models_that_changed_between_two_runs_are_noticed(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"

    with scripted_server(Answers(RESULT, iter("aabbb"))) as server:
        run_file(options(source, output), by(server.url), console())
        with pytest.raises(BatchFailed, match="other models"):
            run_file(options(source, output), by(server.url), console())
        run_file(options(source, output, overwrite=True), by(server.url), console())

    assert len(output.read_bytes().splitlines()) == 1


@pytest.fixture
def quick_policies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both policies with shorter waits."""
    for name in ("PATIENCE", "IMPATIENCE"):
        policy = getattr(session, name)
        quick = replace(
            policy,
            initial_delay_seconds=policy.initial_delay_seconds / 100,
            max_delay_seconds=policy.max_delay_seconds / 100,
            max_elapsed_seconds=policy.max_elapsed_seconds / 5,
        )
        monkeypatch.setattr(session, name, quick)


@pytest.mark.usefixtures("quick_policies")
def test_a_server_that_never_answered_is_given_up_in_seconds_and_one_that_did_is_waited_for(
    source: Path, tmp_path: Path
) -> None:
    run = options(source, tmp_path / "out.jsonl")
    answers = Answers(RESULT, iter("aaaa"))
    away = [reply(503)] * 6

    with (
        scripted_server(reply(503)) as server,
        pytest.raises(BatchFailed, match="--wait waits"),
    ):
        run_file(run, by(server.url), console())
    with scripted_server(*away, answers) as server:
        run_file(run, replace(by(server.url), wait=True), console())
    run = replace(run, overwrite=True)
    with scripted_server(answers, *away, answers) as server:
        run_file(run, by(server.url), console())

    assert IMPATIENCE.max_elapsed_seconds <= 5.0


def test_the_key_comes_from_its_file(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret-key\n")

    with scripted_server(Answers(RESULT, iter("a"))) as server:
        named = replace(by(server.url), api_key_file=key)
        with named.open() as opened:
            opened.info()

    assert server.seen[0].headers["Authorization"] == "Bearer secret-key"
    assert "secret-key" not in repr(named)


def test_the_last_word_counts_everything() -> None:
    summary = Summary(there=3, written=4, failed=1, first_failure="empty_text: Nothing.")

    assert conclusion(summary, 1.25) == (
        "4 rows in 1.2 s; 3 were there already; 1 have an error, the first empty_text: Nothing."
    )


def test_a_file_without_rows_is_told_and_not_only_counted() -> None:
    assert conclusion(Summary(), 0.1) == "0 rows: the input holds none"


@pytest.mark.parametrize(("terminal", "quiet", "shown"), [(1, 0, 1), (1, 1, 0), (0, 0, 0)])
def test_the_bar_is_shown_where_somebody_looks(
    write_lines: WriteLines, terminal: bool, quiet: bool, shown: bool
) -> None:
    told = Console(file=io.StringIO(), force_terminal=bool(terminal), width=100)
    path = write_lines([{"n": i} for i in range(5)])

    with (
        closing(open_rows(str(path))) as rows,
        row_progress(told, rows, quiet=bool(quiet)) as on_row,
    ):
        assert len(list(rows.read(0))) == 5
        on_row(Summary(there=2, written=5))

    assert isinstance(told.file, io.StringIO)
    assert ("7 rows" in told.file.getvalue()) == bool(shown)
    assert ("100%" in told.file.getvalue()) == bool(shown)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (BatchFailed("do this"), 1, "do this"),
        (OSError(28, "No space left on device"), 1, "No space left"),
        (KeyboardInterrupt(), 130, "goes on where it stopped"),
    ],
)
def test_what_ends_a_run_is_one_line_and_an_exit_code(
    error: BaseException, code: int, words: str
) -> None:
    told = console()

    with pytest.raises(typer.Exit) as ended, failures_as_lines(told):
        raise error

    assert ended.value.exit_code == code
    assert isinstance(told.file, io.StringIO)
    assert words in told.file.getvalue()
    assert told.file.getvalue().count("\n") == 1


def test_asking_a_server_needs_no_more_than_the_plain_install() -> None:
    heavy = "{'torch', 'transformers', 'fastapi', 'orjson', 'datasets', 'pyarrow', 'numpy'}"
    code = f"import sys, rewardd.files.session; print({heavy} & set(sys.modules))"

    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout == "set()\n"
