"""Rows as the collection writes them, and what stands in for a tokenizer and a trainer."""

import gzip
import json
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtest.bench.training.prepared import Prepared
from loadtest.bench.training.rankings import Ranking
from loadtest.bench.training.settings import WORKLOADS


class Words:
    """Counts words for tokens."""

    def apply_chat_template(self, conversation: Any, **_: Any) -> list[str]:
        return [word for turn in conversation for word in turn["content"].split()]


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    with gzip.open(path, "wt", encoding="utf-8") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def pair(prompt: str, good: str = "a good answer", bad: str = "a bad one") -> dict[str, Any]:
    return {"prompt": prompt, "responses": [bad, good], "scores": [0, 1]}


def prepared_of(directory: Path, workload: str, *ranks: tuple[int, ...]) -> Prepared:
    """Rankings of one prompt, the same for training and evaluation; none of the files is there."""
    prompt = ({"role": "user", "content": "p"},)
    rankings = [
        Ranking(f"x:{at}", prompt, tuple("abcd"[: len(each)]), each)
        for at, each in enumerate(ranks)
    ]
    files = (directory / "model", directory / "rankings.jsonl", directory / "pairs.jsonl")
    return Prepared(WORKLOADS[workload], *files, rankings, rankings)


def fake_python(path: Path, told: dict[str, Any], *, error: str = "") -> Path:
    """A program called as a Python with TRL is: writes what a worker would tell."""
    path.write_text(
        f"#!{sys.executable}\n"
        "import json, pathlib, sys\n"
        "flag, worker, file = sys.argv[1:]\n"
        "assert flag == '-P' and worker.endswith('trl_worker.py')\n"
        "job = json.loads(pathlib.Path(file).read_text())\n"
        f"if {error!r}: sys.exit({error!r})\n"
        f"pathlib.Path(job['result']).write_text({json.dumps(told)!r})\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path
