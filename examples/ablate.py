"""Compare margins, objectives and heads on one's own data, over seeds: docs/figures/ablation.md."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from rm_core.errors import ConfigurationError, RewardError
from training.config import TrainingConfig, load_config
from training.data.prepare import PreparedData
from training.errors import DataError
from training.evaluation.accuracy import credit_of
from training.evaluation.heldout import measure
from training.evaluation.rendering import markdown_table
from training.evaluation.tables.cells import ABSENT, Table, percent
from training.losses import parse_objectives, reads_margins, targets_of
from training.modeling.reward_model import reward_model_from
from training.modeling.trainable import quantisation_for
from training.optimization.fit import fit
from training.pipeline import encode_data, read_sources
from training.progress import SilentProgress
from training.statistics.intervals import SHARE, interval_over_seeds
from training.types import STRENGTHS

NOTE = (
    "Accuracy on held-out pairs, ties counting half, averaged over seeds; 95 % intervals resample "
    "prompts and seeds. The difference is to the first row, in points over all pairs, on the same "
    "prompts and seeds."
)

Trial = Mapping[tuple[str, str, str], tuple[float, str, str]]
"""One training: reward gap, prompt and grade of each held-out pair, by the pair's texts."""


def make_rows(
    config: TrainingConfig, varied: Mapping[str, Sequence[Any] | None]
) -> tuple[dict[str, TrainingConfig], list[str]]:
    """Each row's configuration by its label, and what can't be trained, with the reason."""
    choices = {name: values or [getattr(config, name)] for name, values in varied.items()}
    named = [name for name, values in choices.items() if len(values) > 1] or list(choices)
    rows: dict[str, TrainingConfig] = {}
    left_out = []
    for values in product(*choices.values()):
        chosen = dict(zip(choices, values, strict=True))
        sets = chosen["objectives"]
        terms = [name if weight == 1 else f"{weight:g} {name}" for name, weight in sets.items()]
        words = {**chosen, "objectives": " + ".join(terms)}
        if not reads_margins(sets):
            words["margins"] = "not read"  # one row, and not one for each table
        label = ", ".join(f"{name}: {words[name]}".replace("_", " ") for name in named)
        try:
            rows.setdefault(label, replace(config, **chosen))
        except ConfigurationError as error:
            left_out.append(f"Left out: {label} ({error}).")
    if not rows:
        raise ConfigurationError("nothing to train. " + " ".join(left_out))
    return rows, left_out


def train_and_measure(config: TrainingConfig, data: PreparedData) -> Trial:
    """Train one row with one seed, and let it order the held-out pairs."""
    length, quantisation = config.max_length, quantisation_for(config)
    start = reward_model_from(
        config.base,
        max_length=length,
        seed=config.seed,
        quantisation=quantisation,
        template_date=config.template_date,
    )
    # Rows that read the same positions share what a trunk that stays as it is computes once.
    place = Path(config.output) / "-".join([config.head, *sorted(targets_of(config.weights))])
    fitted = fit(start, data, config, run_directory=place, progress=SilentProgress())
    model, pad, layout = fitted.scoring_model, fitted.trained.pad_token_id, fitted.layout
    _, rewards = measure(model, data.heldout, pad_token_id=pad, head=config.head, layout=layout)
    return {
        (one.prompt_key, one.responses[pair.chosen], one.responses[pair.rejected]):
            (own[pair.chosen] - own[pair.rejected], one.prompt_key, pair.strength or "")
        for one, own in zip(data.heldout, rewards, strict=True)
        for pair in one.pairs
    }  # fmt: skip


def ablation_table(rows: Mapping[str, Sequence[Trial]], note: str = NOTE) -> Table:
    """Accuracy of each row per grade and over all, on the pairs that all rows have."""
    first = next(iter(rows.values()))[0]
    shared = [p for p in first if all(p in one for trials in rows.values() for one in trials)]
    if not shared:
        raise DataError("the rows have no held-out pair in common")
    prompts, grades = (np.array([first[pair][at] for pair in shared]) for at in (1, 2))
    columns = {grade: grades == grade for grade in STRENGTHS if grade in grades}
    if len(columns) > 1 and "" in grades:
        columns["graded"] = grades != ""
    columns["all"] = np.ones(len(shared), dtype=bool)
    reference, cells = None, []
    for label, trials in rows.items():
        credit = credit_of(np.array([[one[pair][0] for pair in shared] for one in trials]))
        reference = credit if reference is None else reference
        apart = credit - reference
        interval = interval_over_seeds(apart, prompts.tolist())
        low, high = 100 * interval.low, 100 * interval.high
        difference = f"{100 * apart.mean():+.1f} ({low:+.1f} to {high:+.1f})" if cells else ABSENT
        accuracies = [
            percent(
                credit[:, of].mean(),
                interval_over_seeds(credit[:, of], prompts[of].tolist(), span=SHARE),
            )
            for of in columns.values()
        ]
        cells.append((label, *accuracies, difference))
    heads = [f"{name.replace('_', ' ')} ({kept.sum()})" for name, kept in columns.items()]
    title = f"{len(set(prompts))} held-out prompts, {len(shared)} pairs, {len(trials)} seeds"
    return Table(title, ("", *heads, "difference"), tuple(cells), note)


SETTINGS = {"role": str, "base": str, "output": str, "trainable": str, "max-length": int,
            "learning-rate": float, "epochs": float, "batch-size": int,
            "gradient-accumulation": int, "heldout-fraction": float}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Train every row and print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--config", type=Path, help="TOML file with any of train's settings")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each row")
    for name in ("margins", "objective", "head"):
        parser.add_argument(f"--{name}", action="append", help="a row; may be given several times")
    parser.add_argument("--data", action="append", help="as in train, like those that follow")
    for name, kind in SETTINGS.items():
        parser.add_argument(f"--{name}", type=kind)
    flags = vars(parser.parse_args(arguments))
    seeds, path = flags.pop("seeds"), flags.pop("config")
    margins, objectives, heads = (flags.pop(name) for name in ("margins", "objective", "head"))
    config = load_config(path, flags)
    sets = [parse_objectives(text.split("+")) for text in objectives or []]
    choices = {"margins": margins, "objectives": sets, "head": heads}
    rows, left_out = make_rows(config, choices)
    read, trials = read_sources(config), {}
    for label, row in rows.items():
        print(f"training {label}", file=sys.stderr)
        data = encode_data(row, read, SilentProgress())
        own = [replace(row, seed=row.seed + number) for number in range(seeds)]
        trials[label] = [train_and_measure(one, data) for one in own]
    print(markdown_table(ablation_table(trials, " ".join([NOTE, *left_out]))))


if __name__ == "__main__":
    try:
        main()
    except RewardError as error:
        sys.exit(str(error))
