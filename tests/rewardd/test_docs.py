"""The page on batch scoring works as it is written: every block runs, in its order."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.rm_client.servers import real_server

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "batch-scoring.md"
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
URL = "http://localhost:8000"


@pytest.fixture
def directory(tmp_path: Path, checkpoints: dict[str, Path]) -> Path:
    """What the page takes for granted: files, models, and `rewardd` on the path."""
    write(
        tmp_path / "responses.jsonl",
        [{"prompt": f"Q{i}", "response": f"A{i}"} for i in range(100)],
    )
    write(
        tmp_path / "groups.jsonl",
        [{"prompt": f"Q{i}", "responses": [f"A{i}", "B", " "]} for i in range(30)],
    )
    write(
        tmp_path / "pairs.jsonl",
        [{"prompt": f"Q{i}", "chosen": f"good {i}", "rejected": f"{i} bad"} for i in range(60)],
    )
    rows = [{"question": f"Q{i}", "answer": f"A{i}"} for i in range(20)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "questions.parquet")
    chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    datasets.Dataset.from_list([{"conversation": chat}] * 5).save_to_disk(str(tmp_path / "dataset"))
    (tmp_path / "models").mkdir()
    for role, path in checkpoints.items():
        (tmp_path / "models" / role).symlink_to(path)
    return tmp_path


@pytest.fixture
def server_url(checkpoints: dict[str, Path], tmp_path: Path) -> Iterator[str]:
    flags = ["--safety-model", str(checkpoints["safety"])]
    flags += ["--helpfulness-model", str(checkpoints["helpfulness"])]
    with real_server(tmp_path / "server", *flags) as url:
        yield url


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def execute(kind: str, block: str, directory: Path) -> None:
    shell = [sys.executable, "-c"] if kind == "python" else ["bash", "-euo", "pipefail", "-c"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [*shell, block],
        check=False,
        cwd=directory,
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{block}\n{done.stderr}"


def test_every_block_of_the_page_runs_and_gives_what_it_promises(
    directory: Path, server_url: str
) -> None:
    blocks = BLOCK.findall(PAGE.read_text("utf-8"))
    assert len(blocks) >= 9
    for kind, block in blocks:
        if "first_index" in block:  # the break that this block goes on after
            scores = directory / "scores.jsonl"
            whole = scores.read_bytes()
            scores.write_bytes(b"".join(whole.splitlines(keepends=True)[:40]))
        execute(kind, block.replace(URL, server_url), directory)
        if "first_index" in block:
            assert [row["index"] for row in read(scores)] == list(range(100))

    rewards = [row["selected_reward"] for row in read(directory / "scores.jsonl")]
    for name in ("scored.jsonl", "scored-local.jsonl"):
        written = read(directory / name)
        assert [row["prompt"] for row in written] == [f"Q{i}" for i in range(100)]
        found = [row["rewardd"]["selected_reward"] for row in written]
        assert found == pytest.approx(rewards, abs=1e-5)
    assert len(read(directory / "scores-gz.jsonl")) == 100
    assert len(read(directory / "dataset.jsonl")) == 5
    assert_best_of_n(directory)
    assert_filtered(directory)


def assert_best_of_n(directory: Path) -> None:
    best = {row["prompt"]: row["response"] for row in read(directory / "best.jsonl")}
    assert len(best) == 30
    for row in read(directory / "groups-scored.jsonl"):
        results = zip(row["responses"], row["rewardd"]["responses"], strict=True)
        rewards = {text: one["selected_reward"] for text, one in results if "error" not in one}
        assert rewards[best[row["prompt"]]] == max(rewards.values())


def assert_filtered(directory: Path) -> None:
    kept, doubtful = read(directory / "kept.jsonl"), read(directory / "doubtful.jsonl")
    assert kept or doubtful
    compared = {row["prompt"]: row["rewardd"] for row in read(directory / "pairs-compared.jsonl")}
    assert len(compared) == 60
    assert all(row["margin"] >= 0.5 for row in kept)
    assert all(row["margin"] <= -0.5 for row in doubtful)
    for row in kept:
        assert compared[row["prompt"]]["winner"] == 0
