"""`rewardd demo` as a process, over models small enough to be made in seconds."""

import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from rewardd.demo.examples import EXAMPLES
from rewardd.demo.models import DemoRecipe, train_sample_models
from tests.training.samples import preference_rows, write_jsonl
from training.modeling.small_lm import BaseModelConfig

ROOT = Path(__file__).parents[2]
TINY = DemoRecipe(
    base=BaseModelConfig(
        vocabulary=400, hidden=16, layers=1, heads=2, max_length=512, epochs=1, block=32
    ),
    epochs=1,
)
PATIENCE_SECONDS = 300  # a hang; not how long a busy machine takes
LAST_LINE = "Serving; Ctrl-C stops."


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("demo")
    sample = directory / "sample"
    sample.mkdir()
    for role in ("safety", "helpfulness"):
        write_jsonl(sample / f"{role}.jsonl", preference_rows(16))
    train_sample_models(directory / "models", recipe=TINY, sample=sample)
    return directory / "models"


@pytest.fixture
def directory(models: Path, tmp_path: Path) -> Path:
    """A demo directory in which the models stand already."""
    shutil.copytree(models, tmp_path / "demo" / "models")
    return tmp_path / "demo"


@contextmanager
def demo(*flags: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "rewardd", "demo", *flags],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()  # not kill: it has a server to stop
        process.communicate(timeout=PATIENCE_SECONDS)


def read_until(process: "subprocess.Popen[str]", line: str) -> str:
    assert process.stdout is not None
    text = ""
    for read in process.stdout:
        text += read
        if read.startswith(line):
            return text
    pytest.fail(f"the demo ended without {line!r}:\n{text}")


def bodies_of_curl_lines(output: str) -> list[tuple[str, str]]:
    """URL and body of each printed curl line, as a shell would read them."""
    lines = [shlex.split(line) for line in output.splitlines() if line.startswith("curl ")]
    return [(words[2], words[words.index("-d") + 1]) for words in lines]


def test_once_shows_figures_and_every_example_and_ends(directory: Path) -> None:
    with demo("--directory", str(directory), "--port", "0", "--once") as process:
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)

    assert process.returncode == 0, output
    assert output.count("stands already") == 2
    for baseline in ("longer wins", "shorter wins", "bag of words"):
        assert baseline in output
    assert [Path(url).name for url, _ in bodies_of_curl_lines(output)] == [
        example.path.removeprefix("/") for example in EXAMPLES
    ]
    assert LAST_LINE not in output


def test_it_serves_until_ctrl_c_and_leaves_nothing_behind(directory: Path) -> None:
    with demo("--directory", str(directory), "--port", "0") as process:
        output = read_until(process, LAST_LINE)
        for url, body in bodies_of_curl_lines(output):
            reply = httpx.post(url, content=body, headers={"Content-Type": "application/json"})
            assert reply.status_code == 200, reply.text
        (base,) = set(re.findall(r"http://127\.0\.0\.1:\d+", output))
        assert httpx.get(f"{base}/metrics").status_code == 200
        assert httpx.get(f"{base}/docs").status_code == 200
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_SECONDS)

    assert process.returncode == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(base)


def test_a_taken_port_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with demo("--directory", str(tmp_path / "demo"), "--port", str(port)) as process:
            output, _ = process.communicate(timeout=PATIENCE_SECONDS)

    assert process.returncode == 1
    assert f"port {port} is taken" in output
    assert f"PORT={port + 1}" in output
    assert not (tmp_path / "demo").exists()


def test_a_server_that_cannot_start_is_shown_with_its_last_words(directory: Path) -> None:
    (directory / "state").write_text("a file where a directory should be")

    with demo("--directory", str(directory), "--port", "0", "--once") as process:
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)

    assert process.returncode == 1
    assert "the server ended before it was ready" in output
    assert "Traceback" not in output.partition("the server ended")[0]
