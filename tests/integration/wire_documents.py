"""How the two large documents are recorded, and how recordings are written."""

import re
from itertools import groupby
from typing import Any

import orjson

VARIES = "(varies)"
# Measure time, or how the requests happened to be packed.
_UNDETERMINED = re.compile(
    r"_seconds(_sum|_bucket|_total)?[{ ]|_created[{ ]|^rm_batch_(size|tokens|forward)"
    r"|^rm_tokens_total|^rm_cache_|^rm_http_requests_in_flight|^rm_event_loop_lag"
    r"|^rm_connections |^rm_connection_capacity "
)
_SAMPLE = re.compile(r"(?P<name>\w+)(\{.*\})? (?P<value>\S+)")
_BUCKET = re.compile(r'(?P<head>\w+_bucket\{.*?)\ble="(?P<le>[^"]+)"(?P<tail>.*\}) (?P<value>\S+)')


def canonical_metrics(text: str) -> list[str]:
    """The lines of an exposition, values that vary left out.

    A histogram's buckets are put on one line; so are the times at which a family's series began.
    A family's series stand in the order of their labels, not of their first use: a request is
    counted after its reply has left, and the next may be counted before.
    """
    lines = []
    ordered = sorted(map(_without_varying, text.splitlines()), key=_Order())
    for series, group in groupby(ordered, _series):
        found = list(group)
        if series is None:
            lines += found
        elif isinstance(series, str):
            lines.append(f"{series} {VARIES} {len(found)} times")
        else:
            buckets = [match for line in found if (match := _BUCKET.fullmatch(line))]
            edges, values = ("|".join(one[key] for one in buckets) for key in ("le", "value"))
            shown = VARIES if values.startswith(VARIES) else values
            lines.append(f'{series[0]}le="{edges}"{series[1]} {shown}')
    return lines


class _Order:
    """The key that sorts the lines of one family after the other, as they come."""

    def __init__(self) -> None:
        self._family = 0

    def __call__(self, line: str) -> tuple[int, str]:
        if line.startswith("# HELP"):
            self._family += 1
        if line.startswith("#"):
            return self._family, ""
        return self._family, re.sub(r'\ble="[^"]*",?', "", line.rpartition(" ")[0])


def _without_varying(line: str) -> str:
    match = _SAMPLE.fullmatch(line)
    if match is None or not _UNDETERMINED.search(line):
        return line
    return line.removesuffix(match["value"]) + VARIES


def _series(line: str) -> tuple[str, str] | str | None:
    """What lines have in common that are recorded as one."""
    if (match := _BUCKET.fullmatch(line)) is not None:
        return match["head"], match["tail"]
    name = line.partition("{")[0].partition(" ")[0]
    return name if name.endswith("_created") else None


_PROSE = frozenset({"title", "description", "summary", "operationId", "example", "examples"})


def canonical_openapi(document: dict[str, Any]) -> dict[str, Any]:
    """Paths, fields and types: prose left out, schemas numbered by their first use."""
    components = dict(document.get("components", {}))
    numbered = _Numbered(components.pop("schemas", {}))
    rest = {key: value for key, value in document.items() if key not in {"components", "info"}}
    found = numbered.plain({**rest, "components": components})
    return {**found, "schemas": {f"#{i}": one for i, one in enumerate(numbered.contents)}}


class _Numbered:
    """Schemas under numbers instead of their names; those of equal content are one."""

    def __init__(self, schemas: dict[str, Any]) -> None:
        self._schemas = schemas
        self._number_by_content: dict[bytes, int] = {}
        self.contents: list[Any] = []

    def plain(self, value: Any, *, names: bool = False) -> Any:
        """A part of the document; `names`: its keys are names of fields or paths, not keywords."""
        if isinstance(value, list):
            return [self.plain(inner) for inner in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return self._number(str(value["$ref"]).rpartition("/")[2])
        return {
            key: self.plain(inner, names=key in {"properties", "paths"} and not names)
            for key, inner in value.items()
            if names or key not in _PROSE
        }

    def _number(self, name: str) -> str:
        content = self.plain(self._schemas[name])
        key = orjson.dumps(content)
        if key not in self._number_by_content:
            self._number_by_content[key] = len(self.contents)
            self.contents.append(content)
        return f"#{self._number_by_content[key]}"


def pretty(value: Any, indent: str = "", width: int = 100) -> str:
    """JSON with every value on one line that fits there, so that lists of numbers do."""
    line = orjson.dumps(value).decode()
    if len(indent) + len(line) <= width or not isinstance(value, dict | list) or not value:
        return line
    inner = indent + " "
    if isinstance(value, dict):
        parts = [
            f"{inner}{orjson.dumps(key).decode()}: {pretty(one, inner, width)}"
            for key, one in value.items()
        ]
        return "{\n" + ",\n".join(parts) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + pretty(one, inner, width) for one in value) + f"\n{indent}]"
