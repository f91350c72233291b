"""Further reward models as settings name them: `NAME=DIRECTORY`, or a table for each."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from rm_core.checkpoint.source import ModelSource
from rm_core.errors import ConfigurationError
from rm_core.text.contract import Rendering
from rm_core.types import ModelName

MAX_MODELS = 64

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_TAKEN = frozenset({"safety", "helpfulness", "selected", "whitened", "rewardd", "reward_model"})
"""Names that mean something else where models are named: a role, a kind of reward, an alias."""


class NamedModel(BaseModel):
    """One further reward model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(min_length=1)
    label: str | None = Field(default=None, min_length=1)
    layer: int | None = Field(default=None, ge=1)
    rendering: Rendering | None = None
    temperature: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    bias: float | None = Field(default=None, allow_inf_nan=False)

    def source(self) -> ModelSource:
        """What is loaded.

        Raises:
            ConfigurationError: two labels are named, one in the path.
        """
        source = ModelSource.of(self.path)
        if self.label is not None and source.label is not None:
            raise ConfigurationError(f"{self.path} names a label, and so does label; name one")
        return replace(
            source,
            label=self.label or source.label,
            layer=self.layer,
            temperature=self.temperature,
            bias=self.bias,
        )


def read_models(value: Any) -> Any:
    """The models of a setting in any of its forms, as a table of tables by name.

    Args:
        value: a table, or `NAME=DIRECTORY` pairs in one text, separated by commas, or in several;
            a text may also be the table in JSON.

    Raises:
        ValueError: a pair is none, a name can't be one, or names two models.
    """
    if isinstance(value, str) and value.lstrip().startswith("{"):
        value = json.loads(value)
    if isinstance(value, str):
        value = [pair.strip() for pair in value.split(",") if pair.strip()]
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = _of_pairs(value)
    if not isinstance(value, Mapping):
        return value
    for name in value:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(
                f"{name!r} can't name a model: a to z, 0 to 9, _ and -, from a letter on, at most "
                "32 characters"
            )
        if name in _TAKEN or name.startswith("raw_"):
            raise ValueError(
                f"{name!r} can't name a model, as it means something else; choose another"
            )
    return {name: {"path": own} if isinstance(own, str) else own for name, own in value.items()}


def beside(named: Any, elsewhere: Any) -> dict[str, Any]:
    """The models that a command line names, beside those that the file or the environment names.

    Args:
        named: on the command line, in any form that `read_models` takes; a name that both have is
            this one's.
        elsewhere: of the file or the environment; None for none.

    Raises:
        ConfigurationError: one of the two can't be read.
    """
    try:
        below, above = read_models(elsewhere or {}), read_models(named)
    except ValueError as error:
        raise ConfigurationError(f"models: {error}") from error
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        raise ConfigurationError("models: each model is NAME=DIRECTORY, or a table by its name")
    return {**below, **above}


def _of_pairs(pairs: Sequence[Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        name, mark, path = str(pair).partition("=")
        if not mark or not path.strip():
            raise ValueError("each model is NAME=DIRECTORY; separate them by commas")
        if name.strip() in found:
            raise ValueError(f"{name.strip()!r} names two models")
        found[name.strip()] = path.strip()
    return found


def named_sources(pairs: Sequence[str]) -> dict[ModelName, ModelSource]:
    """What is loaded for models that a command line names, each NAME=DIRECTORY.

    Raises:
        ConfigurationError: one is not named so.
    """
    try:
        found = read_models(list(pairs))
    except ValueError as error:
        raise ConfigurationError(f"model: {error}") from error
    return {name: ModelSource.of(own["path"]) for name, own in found.items()}
