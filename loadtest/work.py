"""What a server did for a run, by its own counters and the processor time of its processes.

Seconds between arrivals say nothing of work: what a server had to compute for texts that trickled
in is told by its counters before and after.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from loadtest.connections import ConnectionFailed, Connections, request_bytes
from loadtest.generator import Target

_STAT_USER, _STAT_SESSION = 11, 3  # of /proc/<pid>/stat, after the command's closing bracket
_TICKS_PER_SECOND = 100


@dataclass(frozen=True, slots=True)
class Work:
    """Counters, or how much they rose; None where a server has no such counter.

    Attributes:
        cpu_seconds: processor time of its processes; None where it wasn't started here.
        busy_seconds: that its device spent on forward passes.
        read_tokens: of the texts that were scored.
        cached_tokens: of these, not computed: kept from before, or shared within one pass.
        kept_rewards: rewards that were remembered, where nothing was computed.
    """

    cpu_seconds: float | None = None
    busy_seconds: float | None = None
    read_tokens: float | None = None
    cached_tokens: float | None = None
    kept_rewards: float | None = None

    def since(self, before: "Work") -> "Work":
        """How much each counter rose."""
        return Work(*(_difference(self, before, field.name) for field in fields(Work)))

    @property
    def cached_share(self) -> float | None:
        """Share of the tokens that was not computed, of 0 to 1."""
        if not self.read_tokens or self.cached_tokens is None:
            return None
        return self.cached_tokens / self.read_tokens

    def times(self, other: "Work") -> float | None:
        """How many times the other's work this is: by busy seconds, else by processor time."""
        for name in ("busy_seconds", "cpu_seconds"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine is not None and theirs:
                return float(mine / theirs)
        return None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {field.name: getattr(self, field.name) for field in fields(Work)}


def _difference(after: Work, before: Work, name: str) -> float | None:
    now, then = getattr(after, name), getattr(before, name)
    return None if now is None or then is None else now - then


def read_work(target: Target) -> Work:
    """The counters of all the target's servers together, as they stand now."""
    counted: dict[str, float] = {}
    if target.peer.counters:
        for text in asyncio.run(_metrics(target)):
            for name, value in counters(text, target.peer.counters).items():
                counted[name] = counted.get(name, 0.0) + value
    return Work(cpu_seconds=_cpu_seconds(target), **counted)


async def _metrics(target: Target) -> list[str]:
    texts = []
    for endpoint in target.endpoints:
        pool = Connections(endpoint.origin, timeout_seconds=30.0)
        request = request_bytes(endpoint.origin, "/metrics", None, headers=dict(target.headers))
        try:
            reply = await pool.exchange(request)
        except ConnectionFailed:
            continue
        finally:
            pool.close()
        if reply.status == 200:
            texts.append(reply.body.decode("utf-8"))
    return texts


def counters(text: str, wanted: Mapping[str, tuple[str, ...]]) -> dict[str, float]:
    """Sums of a Prometheus page's samples.

    Args:
        text: the page.
        wanted: our name of a sum, and the samples in it: `name`, with all its labels, or
            `name{label="value"}`, those with that label.

    Returns:
        The sums of which the page has any sample.
    """
    samples = [
        sample for family in text_string_to_metric_families(text) for sample in family.samples
    ]
    found: dict[str, float] = {}
    for ours, names in wanted.items():
        values = [
            sample.value
            for name in names
            for sample in samples
            if sample.name == name.partition("{")[0] and _has_label(sample.labels, name)
        ]
        if values:
            found[ours] = sum(values)
    return found


def _has_label(labels: Mapping[str, str], name: str) -> bool:
    _, _, condition = name.partition("{")
    label, _, value = condition.rstrip("}").partition("=")
    return not condition or labels.get(label) == value.strip('"')


def processes_of(target: Target) -> dict[int, list[str]]:
    """Ids of the processes in the servers' sessions, and what the kernel tells of each."""
    sessions = {endpoint.session for endpoint in target.endpoints}
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            values = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(values[_STAT_SESSION]) in sessions:
            found[int(stat.parent.name)] = values
    return found


def _cpu_seconds(target: Target) -> float | None:
    """Processor time of the servers' processes, and of their children that have ended."""
    if any(endpoint.session is None for endpoint in target.endpoints):
        return None
    ticks = (
        sum(map(int, values[_STAT_USER : _STAT_USER + 4]))
        for values in processes_of(target).values()
    )
    return sum(ticks) / _TICKS_PER_SECOND
