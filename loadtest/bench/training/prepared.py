"""Data and base model as files, made once: what every trainer gets."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
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
from loadtest.bench.training.settings import WORKLOADS, Settings, Workload
from loadtest.errors import LoadTestError
from loadtest.models import quiet_transformers
from loadtest.oracle import load_tokenizer

_UNLIMITED = 2**31


@dataclass(frozen=True, slots=True)
class Prepared:
    """One workload's files.

    Attributes:
        workload: what of.
        model: a sequence-classification checkpoint whose head has learned nothing.
        rankings_file: both sides, for `rewardd train`.
        pairs_file: the train side's pairs, for TRL.
        train: the train side.
        heldout: the other.
    """

    workload: Workload
    model: Path
    rankings_file: Path
    pairs_file: Path
    train: tuple[Ranking, ...]
    heldout: tuple[Ranking, ...]

    @property
    def num_pairs(self) -> int:
        """Strict pairs of the train side."""
        return sum(len(ranking.pairs) for ranking in self.train)

    def facts(self) -> dict[str, Any]:
        """What a table's reader should know of the data."""
        return {
            "train_rankings": len(self.train),
            "train_pairs": self.num_pairs,
            "heldout_rankings": len(self.heldout),
            "heldout_pairs": sum(len(ranking.pairs) for ranking in self.heldout),
        }


def prepare(
    workload: Workload, data: Path, directory: Path, settings: Settings, *, records: int = 0
) -> Prepared:
    """Write the files of a workload; the base is made where it is missing, which takes minutes.

    Args:
        workload: what to train on.
        data: directory of the collection.
        directory: what is built goes here.
        settings: sizes.
        records: most rankings of the train side; 0: all.

    Raises:
        LoadTestError: data is missing, or the base can't be made.
    """
    base = make_base(data, directory, settings)
    model = add_head(base, directory / f"{base.name}-head")
    tokenizer = load_tokenizer(model)
    files = [data / name for name in workload.files]
    rankings = read_rankings(files, workload.limits, tokenizer)
    heldout = [each for each in rankings if is_heldout(each, settings.heldout_fraction)]
    train = [each for each in rankings if not is_heldout(each, settings.heldout_fraction)]
    if records:
        # By hash: a draw that is the same wherever it is made.
        train = sorted(train, key=lambda each: each.key)[:records]
    if not train or not heldout:
        raise LoadTestError(f"{workload.name}: one side of the split is empty")
    place = directory / workload.name
    prepared = Prepared(
        workload,
        model,
        place / "rankings.jsonl",
        place / "pairs.jsonl",
        tuple(train),
        tuple(heldout),
    )
    sides = [(each, "train") for each in train] + [(each, "heldout") for each in heldout]
    _write_rows(prepared.rankings_file, (ranking_row(each, side) for each, side in sides))
    _write_rows(prepared.pairs_file, (row for each in train for row in pair_rows(each)))
    return prepared


def make_base(data: Path, directory: Path, settings: Settings) -> Path:
    """A small language model of the train side of every workload, by `rewardd make-base`.

    Raises:
        LoadTestError: the command failed.
    """
    size = asdict(settings.base)
    kept = {**size, "heldout_fraction": settings.heldout_fraction}
    place = directory / f"base-{hashlib.sha256(repr(kept).encode()).hexdigest()[:8]}"
    if (place / "config.json").exists():
        return place
    texts = directory / "base-texts.jsonl"
    every = [data / name for workload in WORKLOADS.values() for name in workload.files]
    rankings = read_rankings(every, Limits(2, _UNLIMITED, _UNLIMITED), _Unmeasured())
    sides = ((each, is_heldout(each, settings.heldout_fraction)) for each in rankings)
    _write_rows(texts, (ranking_row(each, "heldout" if out else "train") for each, out in sides))
    partial = place.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    flags = [word for name, value in size.items() for word in (f"--{name}", str(value))]
    command = ["make-base", "--data", str(texts), "--output", str(partial), *flags]
    found = subprocess.run(  # noqa: S603 - no shell, our own command
        [sys.executable, "-m", "rewardd", *command], capture_output=True, text=True, check=False
    )
    if found.returncode != 0:
        raise LoadTestError(f"rewardd make-base failed: {found.stderr[-2000:]}")
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


class _Unmeasured:
    """A tokenizer for texts whose length does not matter."""

    def apply_chat_template(self, conversation: Any, **_: Any) -> Sequence[int]:
        """No token ids."""
        del conversation
        return ()


def _write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
