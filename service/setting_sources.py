"""Where settings come from, and what is said of those that can't be used."""

import difflib
import os
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rm_core.errors import ConfigurationError

PREFIX = "REWARDD_"
CONFIG_VARIABLE = "REWARDD_CONFIG"


def names_in_environment(known: Collection[str]) -> set[str]:
    """The settings that the environment has; an unknown name is an error, not a silent default.

    Pydantic-settings itself lets a misspelt top-level variable pass (its issue 985).

    Args:
        known: the settings' names.

    Raises:
        ConfigurationError: a variable with our prefix names none of them.
    """
    found = {
        name.upper().removeprefix(PREFIX).lower()
        for name in os.environ
        if name.upper().startswith(PREFIX) and name.upper() != CONFIG_VARIABLE
    }
    unknown = sorted(found - set(known))
    if unknown:
        raise ConfigurationError(
            "; ".join(
                f"unknown variable {PREFIX}{name.upper()}{_suggestion(name, known)}"
                for name in unknown
            )
        )
    return found


def in_environment(name: str) -> str | None:
    """What the environment says of a setting, as it stands there."""
    variables = (key for key in os.environ if key.upper() == f"{PREFIX}{name}".upper())
    return next((os.environ[key] for key in variables), None)


def read_config(given: Path | None) -> dict[str, Any]:
    """The settings of a TOML file; none where there is no file.

    Args:
        given: its path; the one that REWARDD_CONFIG names by default.

    Raises:
        ConfigurationError: it can't be read.
    """
    named = given or os.environ.get(CONFIG_VARIABLE)
    if not named:
        return {}
    path = Path(named)
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"the settings file {path} can't be read: {exc}") from exc


def products_file() -> Path | None:
    """Where it is kept which library multiplied fastest: a file in the user's cache directory.

    Returns:
        The file, which need not exist; None where there is no cache directory, or where a variable
        is set by which a library does otherwise than it would, so that nothing is kept of it.
    """
    if any(
        name.startswith(("MKL_ENABLE_", "MKL_DEBUG_", "ONEDNN_", "DNNL_")) for name in os.environ
    ):
        return None
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path(os.environ.get("HOME", "")) / ".cache")
    return cache / "rewardd" / "products.json" if cache.is_absolute() else None


def explained(error: ValidationError, known: Collection[str]) -> str:
    """What is wrong with settings, in one line, without their values.

    Args:
        error: of the settings' model.
        known: the settings' names, for a suggestion.
    """
    parts = []
    for entry in error.errors(include_url=False, include_context=False, include_input=False):
        name = ".".join(str(part) for part in entry["loc"])
        if entry["type"] == "extra_forbidden":
            parts.append(f"unknown setting {name}{_suggestion(name, known)}")
        elif name == "device":
            parts.append("device: choose auto, cpu, cuda or cuda:N")
        else:
            parts.append(f"{name}: {entry['msg']}" if name else str(entry["msg"]))
    return "; ".join(parts)


def _suggestion(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
