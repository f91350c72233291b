"""Data and base model as files, made once: what every trainer gets."""

import hashlib
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtest.bench.training.rankings import (
    Limits,
    Ranking,
    is_heldout,
    pair_rows,
    ranking_row,
    read_rankings,
)
from loadtest.bench.training.settings import HELDOUT_FRACTION, WORKLOADS, TrainingSettings, Workload
from loadtest.errors import LoadTestError, PeerError
from loadtest.models import quiet_transformers
from loadtest.oracle import load_tokenizer

_ANY = Limits(2, sys.maxsize, sys.maxsize)
_TAIL = 2000


@dataclass(frozen=True, slots=True)
class Prepared:
    """One workload's files, and a checkpoint whose head has learned nothing.

    The rankings of both sides are for `rewardd train`, the train side's pairs for TRL.
    """

    workload: Workload
    model: Path
    rankings_file: Path
    pairs_file: Path
    train: Sequence[Ranking]
    heldout: Sequence[Ranking]

    @property
    def num_pairs(self) -> int:
        """Strict pairs of the train side."""
        return _num_pairs(self.train)

    @property
    def updates(self) -> int:
        """Of an epoch of ours."""
        return math.ceil(len(self.train) / self.workload.batch)

    @property
    def pairs_batch(self) -> int:
        """Pairs in an update of TRL's, so that it makes as many."""
        return math.ceil(self.num_pairs / self.updates)

    @property
    def warmup(self) -> int:
        """Updates in which the rate climbs: a tenth."""
        return max(1, self.updates // 10)

    def facts(self) -> dict[str, int]:
        """What a table's reader should know of the data."""
        return {
            "train_rankings": len(self.train),
            "train_pairs": self.num_pairs,
            "heldout_rankings": len(self.heldout),
            "heldout_pairs": _num_pairs(self.heldout),
        }


def prepare(name: str, settings: TrainingSettings) -> Prepared:
    """Write the files of a workload; the base is made where it is missing, which takes minutes.

    Raises:
        LoadTestError: data is missing, or the base can't be made.
    """
    workload = WORKLOADS[name]
    base = make_base(settings)
    model = add_head(base, settings.place / f"{base.name}-head")
    file = settings.data / workload.file
    rankings = read_rankings([file], workload.limits, load_tokenizer(model))
    heldout = [each for each in rankings if is_heldout(each, HELDOUT_FRACTION)]
    train = [each for each in rankings if not is_heldout(each, HELDOUT_FRACTION)]
    if settings.records:
        # By hash: a draw that is the same wherever it is made.
        train = sorted(train, key=lambda each: each.key)[: settings.records]
    if not train or not heldout:
        raise LoadTestError(f"{name}: one side of the split is empty")
    place = settings.place / name
    files = (place / "rankings.jsonl", place / "pairs.jsonl")
    sides = [(each, "train") for each in train] + [(each, "heldout") for each in heldout]
    _write_rows(files[0], (ranking_row(each, side) for each, side in sides))
    _write_rows(files[1], (row for each in train for row in pair_rows(each)))
    return Prepared(workload, model, *files, train, heldout)


def make_base(settings: TrainingSettings) -> Path:
    """A small language model of the train side of every workload, by `rewardd make-base`.

    Raises:
        PeerError: the command failed.
    """
    kept = {**settings.base, "heldout_fraction": HELDOUT_FRACTION}
    place = settings.place / f"base-{hashlib.sha256(repr(kept).encode()).hexdigest()[:8]}"
    if (place / "config.json").exists():
        return place
    texts = settings.place / "base-texts.jsonl"
    every = [settings.data / workload.file for workload in WORKLOADS.values()]
    sides = (
        (each, "heldout" if is_heldout(each, HELDOUT_FRACTION) else "train")
        for each in read_rankings(every, _ANY, None)
    )
    _write_rows(texts, (ranking_row(each, side) for each, side in sides))
    partial = place.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    flags = [word for name, value in settings.base.items() for word in (f"--{name}", str(value))]
    command = ["make-base", "--data", str(texts), "--output", str(partial), *flags]
    run_to_end([sys.executable, "-m", "rewardd", *command], "rewardd make-base")
    partial.rename(place)
    return place


def add_head(base: Path, place: Path, *, seed: int = 0) -> Path:
    """The base with a head of one output, drawn once: every trainer starts from the same weights.

    Args:
        base: a causal language model.
        place: the checkpoint's directory; kept where it stands.
        seed: of the head, N(0, 1/(hidden + 1)).
    """
    if (place / "config.json").exists():
        return place
    import torch
    from transformers import AutoModelForSequenceClassification

    quiet_transformers()
    model = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=1, dtype=torch.float32
    )
    weight = model.score.weight
    drawn = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        weight.copy_(drawn / (weight.shape[1] + 1) ** 0.5)
    tokenizer = load_tokenizer(base)
    model.config.pad_token_id = tokenizer.pad_token_id
    partial = place.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    partial.rename(place)
    return place


def run_to_end(command: Sequence[str], name: str, variables: Sequence[str] = ()) -> None:
    """Run a command, with `NAME=VALUE` in its environment.

    Raises:
        PeerError: it ended in an error; its last words are in the message.
    """
    found = subprocess.run(  # noqa: S603 - no shell
        ["env", *variables, *command],  # noqa: S607 - env, wherever it lies
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode != 0:
        raise PeerError(f"{name} ended with {found.returncode}: {found.stderr[-_TAIL:]}")


def _num_pairs(rankings: Iterable[Ranking]) -> int:
    return sum(len(ranking.pairs) for ranking in rankings)


def _write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
