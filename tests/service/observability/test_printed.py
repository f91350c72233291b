import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

ROOT = Path(__file__).parents[3]

NOISE = """
import ctypes, faulthandler, gc, logging, os, subprocess, sys, threading, traceback, warnings
from contextlib import nullcontext
from service.observability.logs import configure_logging
from service.observability.printed import prints_logged

class Odd:
    def __del__(self):
        raise ValueError("unraisable")

def fails():
    raise ValueError("of a thread")

configure_logging("info")
with {context}:
    print("to stdout")
    print("to stderr\\u2028\\x1b[31m", file=sys.stderr)
    sys.__stderr__.write("by the original stream\\n"); sys.__stderr__.flush()
    os.write(1, b"by C \\xff on stdout\\n")
    os.write(2, b"by C on stderr\\n")
    libc = ctypes.CDLL(None); libc.puts(b"by stdio"); libc.fflush(None)
    subprocess.run(["echo", "by a child"], check=True)
    warnings.warn("a warning")
    logging.getLogger("library").warning("args %d", "that do not fit: a private text")
    logging.getLogger("library").warning("not finite", extra={{"x": 1}})
    for step in range(1000):
        print(f"\\rbar {{step}}/1000", end="", file=sys.stderr)
    print(file=sys.stderr)
    try:
        fails()
    except ValueError:
        traceback.print_exc()
    thread = threading.Thread(target=fails); thread.start(); thread.join()
    Odd(); gc.collect()
    os.write(2, b"x" * 100_000 + b"\\n")
    print("a last one without its end", end="")
raise ValueError("a private text")
"""


def run(context: str) -> tuple[str, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", NOISE.format(context=context)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    return done.stdout, done.stderr.splitlines()


def test_every_line_is_one_json_object_whoever_writes_it():
    stdout, lines = run("prints_logged()")

    events = [json.loads(line) for line in lines]
    assert stdout == ""
    assert all(isinstance(event, dict) and event["event"] for event in events)
    printed = [event["text"] for event in events if event["event"] == "printed"]
    for text in (
        "to stdout",
        "to stderr\u2028\x1b[31m",
        "by the original stream",
        "by C \ufffd on stdout",
        "by C on stderr",
        "by stdio",
        "by a child",
        "bar 999/1000",
        "a last one without its end",
    ):
        assert text in printed
    assert sum("bar" in text for text in printed) == 1
    assert max(map(len, printed)) == 4096
    others = [event["event"] for event in events if event["event"] != "printed"]
    assert any("a warning" in event for event in others)
    assert {"log_line_lost", "error_ignored", "crashed"} <= set(others)
    assert "private" not in "".join(lines)


def test_with_prints_left_alone_lines_are_no_json():
    stdout, lines = run("nullcontext()")

    assert "by C" in stdout
    assert "by C on stderr" in lines
    assert not all(line.startswith("{") for line in lines)


CRASH = """
import faulthandler, sys
from service.observability.logs import configure_logging
from service.observability.printed import prints_logged
from service.watchdog.last_resort import stderr_descriptor
configure_logging("info")
with prints_logged():
    faulthandler.dump_traceback_later(0.05, exit=True, file=stderr_descriptor())
    while True:
        pass
"""


def test_the_traceback_of_a_watchdog_is_written_before_the_process_ends():
    done = subprocess.run(
        [sys.executable, "-c", CRASH],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert "File" in done.stderr


def test_streams_are_as_before_when_it_ends(capfd):
    from service.observability.printed import prints_logged

    before = sys.stdout, sys.stderr
    with prints_logged():
        assert sys.stdout is not before[0]
    assert (sys.stdout, sys.stderr) == before
    with nullcontext():
        os.write(2, b"as ever\n")
    assert "as ever" in capfd.readouterr().err
