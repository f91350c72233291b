"""The file of API keys: one a line, with what it may be used for and the name that logs show.

    # comment
    KEY
    KEY scopes=score name=trainer-1
    KEY scopes=score,admin

A key without scopes has all of them. What can't be read is an error that names the line and never
shows it.
"""

import hashlib
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from rm_core.errors import ConfigurationError
from service.access.scopes import ALL_SCOPES, Scope

MAX_FILE_BYTES = 1024 * 1024

_BOM = b"\xef\xbb\xbf"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_OPTIONS = "write KEY, KEY scopes=score,admin,metrics or KEY name=NAME"


class UnreadableFile(ConfigurationError):
    """Raised when the file can't be read now, whatever it holds."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key, kept as its digest.

    Attributes:
        digest: sha256 of the key's bytes; 32 bytes.
        scopes: what it may be used for.
        name: what logs call it; None: nothing.
    """

    digest: bytes = field(repr=False)
    scopes: frozenset[Scope] = ALL_SCOPES
    name: str | None = None

    @classmethod
    def of(
        cls, key: bytes, scopes: frozenset[Scope] = ALL_SCOPES, name: str | None = None
    ) -> "ApiKey":
        """The key whose bytes are `key`."""
        return cls(hashlib.sha256(key).digest(), scopes, name)


@dataclass(frozen=True, slots=True)
class FileState:
    """What tells that a file is another than before, without reading it."""

    modified_ns: int
    changed_ns: int
    inode: int
    size: int

    @classmethod
    def of(cls, found: os.stat_result) -> "FileState":
        """That of a file of which `os.stat` says this."""
        return cls(found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size)


def state_of(path: Path) -> FileState | None:
    """The file's state; None where it can't be looked at."""
    try:
        return FileState.of(path.stat())
    except OSError:
        return None


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """The keys of a file, at least one.

    Raises:
        UnreadableFile: the file can't be read.
        ConfigurationError: it holds no key, or a line is not understood.
    """
    try:
        content = _content(path)
    except OSError as exc:
        raise UnreadableFile(f"api_keys_file {path} can't be read: {type(exc).__name__}") from None
    # At line feeds alone: a key may hold what str.splitlines takes for an end.
    lines = content.removeprefix(_BOM).split(b"\n")
    keys: dict[bytes, ApiKey] = {}
    for number, line in enumerate(lines, 1):
        key = _key_of_line(line.strip(), f"api_keys_file {path}, line {number}")
        if key is None:
            continue
        if keys.setdefault(key.digest, key) != key:
            raise ConfigurationError(
                f"api_keys_file {path}, line {number}: this key stands further up with other "
                "scopes or another name; remove one of them"
            )
    if not keys:
        raise ConfigurationError(f"api_keys_file {path} holds no key")
    return tuple(keys.values())


def _content(path: Path) -> bytes:
    # Without blocking: nobody may ever write into a pipe of that name.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ConfigurationError(
                f"api_keys_file {path} is not a regular file; it is read again when it changes"
            )
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ConfigurationError(f"api_keys_file {path} is larger than {MAX_FILE_BYTES} bytes")
    return content


def _key_of_line(line: bytes, place: str) -> ApiKey | None:
    """The key of a line; None for a comment or nothing."""
    if not line or line.startswith(b"#"):
        return None
    key, *words = line.split()
    try:
        key.decode("utf-8")
        options = dict(_option(word.decode("ascii"), place) for word in words)
    except UnicodeDecodeError:
        raise ConfigurationError(f"{place}: this is no UTF-8; {_OPTIONS}") from None
    if len(options) < len(words):
        raise ConfigurationError(f"{place}: an option stands there twice; {_OPTIONS}")
    name = options.get("name")
    if name is not None and not _NAME.match(name):
        raise ConfigurationError(
            f"{place}: a name has 1 to 64 characters out of A-Z, a-z, 0-9, dot, underscore, hyphen"
        )
    return ApiKey.of(key, _scopes(options.get("scopes"), place), name)


def _option(word: str, place: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if name not in {"scopes", "name"} or not equals:
        raise ConfigurationError(f"{place}: what follows the key is no option; {_OPTIONS}")
    return name, value


def _scopes(listed: str | None, place: str) -> frozenset[Scope]:
    if listed is None:
        return ALL_SCOPES
    named = frozenset(listed.split(","))
    found = frozenset(scope for scope in ALL_SCOPES if scope in named)
    if len(found) < len(named):
        raise ConfigurationError(
            f"{place}: a scope is not known; choose from {', '.join(sorted(ALL_SCOPES))}"
        )
    return found
