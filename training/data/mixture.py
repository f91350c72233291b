"""Several sources as one training set: how much of each is trained on.

Only the train side is drawn from: the held-out split is the same with every mixture, so that their
figures can be compared.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from rm_core.errors import ConfigurationError
from training.data.accounting import DrawnPart, MixtureCounts
from training.data.examples import prompt_key
from training.data.formats.reading import ReadRecords, read_records
from training.data.formats.writer import KINDS, Source
from training.data.prepare import assign_splits
from training.data.records import PreferenceRecord
from training.errors import DataError
from training.types import Recipe

RECIPES: tuple[Recipe, ...] = get_args(Recipe)


@dataclass(frozen=True, slots=True)
class _Part:
    """Sources drawn from as one.

    Attributes:
        name: for the report.
        indices: of the sources.
        share: of the mixture.
        whole: nothing of it is left out, and the others go by how much it is.
    """

    name: str
    indices: tuple[int, ...]
    share: float
    whole: bool = False


def read_mixture(
    sources: Sequence[Source],
    *,
    recipe: Recipe | None = None,
    heldout_fraction: float,
    seed: int,
    format_name: str | None = None,
    max_malformed: int | None = None,
) -> ReadRecords:
    """Read every source and draw the training records of the mixture.

    Args:
        sources: at least one.
        recipe: draw by this one instead of by weights.
        heldout_fraction: as `training.data.prepare.assign_splits`.
        seed: of the split and of the draw.
        format_name: read sources that name no format as this one.
        max_malformed: see `read_records`.

    Returns:
        What `read_records` returns. Where something was drawn, every record carries its side.

    Raises:
        ConfigurationError: some sources have a weight and others none, or a recipe lacks a kind.
        DataError: a source can't be read, or the part that a recipe is about is empty.
    """
    parts = _parts(sources, recipe)
    reads = _read_all(sources, format_name, max_malformed)
    whole = _merged(reads)
    if not parts:
        return whole
    sides = assign_splits(whole.records, fraction=heldout_fraction, seed=seed)
    heldout_keys = {prompt_key(record.prompt) for record in sides["heldout"]}
    # Training records of held-out prompts stay, for the report to name them, and are not drawn.
    free = {id(r) for r in sides["train"] if prompt_key(r.prompt) not in heldout_keys}
    pools = [
        [record for i in part.indices for record in reads[i].records if id(record) in free]
        for part in parts
    ]
    sizes = _sizes(parts, [len(pool) for pool in pools])
    generator = random.Random(seed)  # noqa: S311 - a reproducible draw, not a secret
    drawn = {
        id(record)
        for pool, size in zip(pools, sizes, strict=True)
        for record in generator.sample(pool, size)
    }
    in_train = {id(record) for record in sides["train"]}
    kept = tuple(
        replace(record, split="train" if id(record) in in_train else "heldout")
        for record in whole.records
        if id(record) not in free or id(record) in drawn
    )
    counts = _counts(recipe or "weights", seed, parts, pools, sizes, sources)
    left = len(whole.records) - len(kept)
    return replace(whole, records=kept, mixture=counts, num_undrawn=left)


def _read_all(
    sources: Sequence[Source], format_name: str | None, max_malformed: int | None
) -> list[ReadRecords]:
    names = [Path(source.place).name for source in sources]
    return [
        read_records(
            [source],
            format_name=format_name,
            max_malformed=max_malformed,
            whole_names=names.count(name) > 1,
        )
        for source, name in zip(sources, names, strict=True)
    ]


def _merged(reads: Sequence[ReadRecords]) -> ReadRecords:
    formats: dict[str, str] = {}
    for read in reads:
        formats.update(read.formats)
    return ReadRecords(
        tuple(record for read in reads for record in read.records),
        tuple(row for read in reads for row in read.unusable),
        formats,
        tuple(row for read in reads for row in read.malformed),
    )


def _parts(sources: Sequence[Source], recipe: Recipe | None) -> list[_Part]:
    weighted = [source for source in sources if source.weight is not None]
    if recipe is not None:
        if weighted:
            raise ConfigurationError(f"`mixture` {recipe} sets the shares; leave `weight` out")
        return _recipe_parts(sources, recipe)
    if not weighted:
        return []
    if len(weighted) != len(sources):
        bare = next(source.place for source in sources if source.weight is None)
        raise ConfigurationError(f"{bare} has no `weight`, and other sources have one")
    total = sum(source.weight or 0.0 for source in sources)
    return [
        _Part(source.place, (index,), (source.weight or 0.0) / total)
        for index, source in enumerate(sources)
    ]


def _recipe_parts(sources: Sequence[Source], recipe: Recipe) -> list[_Part]:
    """The two mixes of LLaMA-2 (arXiv 2307.09288 §3.2.2), counted in records.

    Helpfulness: all of one's own helpfulness data, and as much again drawn uniformly from one's own
    safety data and the open sets. Safety: all safety data, one's own and open, with helpfulness
    data, one's own and open, at 90 to 10.
    """
    unnamed = [source.place for source in sources if source.kind is None]
    if unnamed:
        raise ConfigurationError(
            f"`mixture` {recipe} needs each source's `kind` ({', '.join(KINDS)}); "
            f"{unnamed[0]} has none"
        )
    main_kinds: Mapping[Recipe, tuple[str, set[str], float]] = {
        "llama2_helpfulness": ("own helpfulness", {"own_helpfulness"}, 0.5),
        "llama2_safety": ("safety", {"own_safety", "open_safety"}, 0.9),
    }
    name, kinds, share = main_kinds[recipe]
    main = tuple(i for i, source in enumerate(sources) if source.kind in kinds)
    rest = tuple(i for i, source in enumerate(sources) if source.kind not in kinds)
    if not main:
        raise ConfigurationError(
            f"`mixture` {recipe} is about {name} data, and no source is of that kind"
        )
    return [_Part(name, main, share, whole=True), _Part("the rest", rest, 1 - share)]


def _sizes(parts: Sequence[_Part], available: Sequence[int]) -> list[int]:
    """How many records to draw of each part: none twice, and none more than there are."""
    whole = next((i for i, part in enumerate(parts) if part.whole), None)
    if whole is not None:
        if not available[whole]:
            raise DataError(f"no training record of {parts[whole].name} is left to mix with")
        total = available[whole] / parts[whole].share
    else:
        total = min(
            count / part.share for part, count in zip(parts, available, strict=True) if part.share
        )
    return [
        min(count, round(total * part.share)) for part, count in zip(parts, available, strict=True)
    ]


def _counts(
    name: str,
    seed: int,
    parts: Sequence[_Part],
    pools: Sequence[Sequence[PreferenceRecord]],
    sizes: Sequence[int],
    sources: Sequence[Source],
) -> MixtureCounts:
    total = sum(sizes)
    return MixtureCounts(
        name,
        seed,
        tuple(
            DrawnPart(
                name=part.name,
                places=tuple(sources[i].place for i in part.indices),
                wanted=part.share,
                available=len(pool),
                drawn=size,
                share=size / total if total else 0.0,
            )
            for part, pool, size in zip(parts, pools, sizes, strict=True)
        ),
    )
