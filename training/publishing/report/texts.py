"""Texts of the data made fit for the page: cut to a length, control characters visible."""

import re
from dataclasses import dataclass

MOST_CHARACTERS = 5_000
"""Of one text on the page; twenty mistakes stay below 2 MB however their characters are escaped."""

_FOLDED_FROM = 600
_BEGINNING = 240

# A page may not hold control characters, and a lone surrogate can't be written as UTF-8.
_CONTROLS = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"}
_CONTROLS |= {0x7F: 0x2421, **dict.fromkeys(range(0x80, 0xA0), 0xFFFD)}
_UNWRITABLE = re.compile("[\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Shown:
    """A text as it is shown.

    Attributes:
        text: all of it, or its beginning.
        beginning: what stands for it while it is folded; empty where it is short.
        characters: of the whole text.
        left_out: characters of it that are not shown.
    """

    text: str
    beginning: str
    characters: int
    left_out: int


def shown(text: str, *, most: int = MOST_CHARACTERS) -> Shown:
    """A text of anybody for the page, not yet escaped; its first `most` characters."""
    kept = readable(text[:most])
    beginning = ""
    if len(kept) > _FOLDED_FROM:
        beginning = " ".join(kept[:_BEGINNING].split())
    return Shown(kept, beginning, len(text), max(0, len(text) - most))


def readable(text: str) -> str:
    """The same text with pictures of control characters in their place, lines as on Unix."""
    lines = text.replace("\r\n", "\n").translate(_CONTROLS)
    return _UNWRITABLE.sub("\ufffd", lines)
