"""A source of data as users write it: `PLACE[@PART][,key=value…]`, or a table in a TOML file."""

import difflib
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

from rm_core.errors import ConfigurationError
from rm_core.types import Role
from training.data.formats.options import WRITTEN_OPTIONS, Decode, FormatOptions
from training.types import Split

Kind = Literal["own_helpfulness", "own_safety", "open_helpfulness", "open_safety"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What a source is to a recipe: one's own annotations or an open set, for one of the two models."""

_KEYS = ("weight", "kind", "format", "split", *WRITTEN_OPTIONS)
_SETTING = re.compile(rf",\s*({'|'.join(_KEYS)})=")
_LIKE_A_SETTING = re.compile(r",\s*(\w+)=")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One place of data and how it is to be used.

    Attributes:
        place: as `training.data.formats.sources` reads it.
        weight: its share of the mixture relative to the other sources; None: all of it. Only
            training draws; all else reads the whole.
        kind: what it is to a recipe.
        format: read it as this format instead of detecting it.
        split: put all of it on this side.
        options: what its rows don't say.
    """

    place: str
    weight: float | None = None
    kind: Kind | None = None
    format: str | None = None
    split: Split | None = None
    options: FormatOptions = field(default_factory=FormatOptions)


def written_source(item: Any) -> str:
    """A source as text, from text or from a TOML table with `path` and further keys."""
    if isinstance(item, str):
        return item
    place = item.get("path") if isinstance(item, dict) else None
    if not isinstance(place, str):
        raise ConfigurationError("`data` must hold texts, or tables with a `path`")
    unknown = sorted(set(item) - {"path", *_KEYS})
    if unknown:
        raise ConfigurationError(
            f"a source has no setting `{unknown[0]}`; there are {', '.join(_KEYS)}"
        )
    settings = (
        f",{key}={str(value).replace(chr(10), chr(92) + 'n')}"
        for key, value in item.items()
        if key != "path"
    )
    return place + "".join(settings)


def parsed_source(
    text: str,
    *,
    role: Role | None = None,
    decode: Decode | None = None,
    options: FormatOptions | None = None,
) -> Source:
    r"""A source from its text: "data.jsonl,weight=0.9,kind=own_safety".

    Args:
        text: the place, then settings; `\n` in a value is a line break.
        role: which reward model the data is for, where the source doesn't say it.
        decode: turns token ids into text, for data that came as ids.
        options: what holds where the source says nothing; instead of `role` and `decode`.

    Raises:
        ConfigurationError: a value that its setting can't have, or a setting that there is not.
    """
    # A comma that no setting follows belongs to the place.
    place, *rest = _SETTING.split(text)
    settings = dict(zip(rest[::2], rest[1::2], strict=True))
    if len(settings) * 2 != len(rest):
        raise ConfigurationError(f"a setting is given twice for {place}")
    _refuse_misspelt(place)
    settings = {key: value.replace("\\n", "\n") for key, value in settings.items()}
    kind, split = settings.pop("kind", None), settings.pop("split", None)
    if kind is not None and kind not in KINDS:
        raise ConfigurationError(f"`kind` of {place} must be one of {', '.join(KINDS)}")
    if split is not None and split not in get_args(Split):
        raise ConfigurationError(f"`split` of {place} must be train or heldout")
    weight = settings.pop("weight", None)
    return Source(
        place=place,
        weight=None if weight is None else _weight(weight, place),
        kind=cast("Kind | None", kind),
        format=settings.pop("format", None),
        split=cast("Split | None", split),
        options=replace(
            options or FormatOptions(role=role, decode=decode), **cast("dict[str, Any]", settings)
        ),
    )


def _refuse_misspelt(place: str) -> None:
    """A place that is there but for what looks like a setting has a misspelt one."""
    found = _LIKE_A_SETTING.search(place)
    if found and Path(place[: found.start()]).exists() and not Path(place).exists():
        close = difflib.get_close_matches(found[1], _KEYS, n=1)
        hint = f"; did you mean `{close[0]}`?" if close else f"; there are {', '.join(_KEYS)}"
        raise ConfigurationError(f"a source has no setting `{found[1]}`{hint}")


def _weight(text: str, place: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = -1.0
    if not 0 < weight < float("inf"):
        raise ConfigurationError(f"`weight` of {place} must be a number greater than 0")
    return weight
