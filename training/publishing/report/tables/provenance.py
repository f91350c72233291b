"""Tables of where a checkpoint comes from, and every figure as its manifest holds it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rm_core.checkpoint.manifest import RewardModelManifest
from training.evaluation.tables.cells import Table
from training.publishing.report.texts import readable


def configuration_table(manifest: RewardModelManifest) -> Table:
    """The resolved configuration."""
    rows = tuple(
        (name, readable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))
        for name, value in manifest.training.items()
    )
    return Table("Configuration", ("setting", "value"), rows)


def provenance_tables(manifest: RewardModelManifest) -> list[Table]:
    """Versions, what it was made from and of, and the digests of its files."""
    origin = {**manifest.base_model, "data fingerprint": manifest.data.get("fingerprint", "")}
    return [
        Table("Versions", ("library", "version"), tuple(manifest.versions.items())),
        Table(
            "Origin", ("", "value"), tuple((k, readable(str(v))) for k, v in origin.items() if v)
        ),
        Table("Files of the checkpoint", ("file", "sha256"), tuple(manifest.files.items())),
    ]


def metrics_table(manifest: RewardModelManifest) -> Table:
    """Every single number of the manifest's metrics, exactly, by its path in the JSON.

    Lists (the diagrams and curves behind plots) are left to the manifest, but for intervals.
    """
    rows = tuple(_flat(manifest.metrics))
    note = "As reward_model.json holds them under `metrics`, lists left out."
    return Table("Every figure", ("figure", "value"), rows, note)


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        if len(value) == 2 and all(isinstance(one, float) for one in value):
            yield path, json.dumps(list(value))
    else:
        yield path, readable(value) if isinstance(value, str) else json.dumps(value)
