"""When requests are sent: fixed and seeded before the first one goes."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random

from loadtest.errors import LoadTestError


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Each request at its own time, whatever became of those before it.

    Attributes:
        times: seconds after the start, ascending, one per request.
    """

    times: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """So many clients, each of which sends its next request when its last one is answered.

    A request's intended time is the end of the client's previous one. A closed loop hides queueing
    behind slow answers (coordinated omission): it measures throughput, not latency under load.

    Attributes:
        clients: how many; request i belongs to client i mod clients.
    """

    clients: int


Schedule = OpenLoop | ClosedLoop


def poisson(count: int, *, rate: float, seed: int) -> OpenLoop:
    """Poisson arrivals: exponential gaps, independent of each other.

    Args:
        count: how many.
        rate: per second.
        seed: equal seeds give equal times.
    """
    if rate <= 0:
        raise LoadTestError(f"a rate of {rate} requests a second never sends any")
    rng = Random(seed)
    return OpenLoop(tuple(accumulate(rng.expovariate(rate) for _ in range(count))))


def burst(count: int, *, seconds: float, seed: int) -> OpenLoop:
    """All within a short time, as at the end of a rollout; 0 seconds: all at once."""
    rng = Random(seed)
    return OpenLoop(tuple(sorted(rng.uniform(0.0, seconds) for _ in range(count))))


def group_singles(times: Sequence[float], sizes: Sequence[int]) -> OpenLoop:
    """The members of each group, sent singly at their group's time."""
    pairs = zip(times, sizes, strict=True)
    return OpenLoop(tuple(time for time, size in pairs for _ in range(size)))
