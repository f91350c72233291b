"""The shapes of traffic that `serve` sends, each fixed and seeded before it starts."""

from collections.abc import Callable
from dataclasses import dataclass

from loadtest import workloads
from loadtest.errors import LoadTestError
from loadtest.schedule import ClosedLoop, Schedule, burst, group_singles, poisson
from loadtest.settings import ScenarioSettings
from loadtest.workloads import Tokenizer, Workload

SINGLES_CLIENTS = 32


@dataclass(frozen=True, slots=True)
class Scenario:
    """A workload and when it is sent.

    Attributes:
        name: on the command line and in tables.
        workload: what is sent.
        schedule: when.
        group_sizes: where groups are sent singly: requests of each.
    """

    name: str
    workload: Workload
    schedule: Schedule
    group_sizes: tuple[int, ...] = ()


Capacity = Callable[[Workload], float]
"""Texts a second that the target scores when a workload arrives at once."""


class ScenarioBuilder:
    """Builds scenarios by name.

    Args:
        tokenizer: of the served checkpoint.
        settings: sizes and rates.
        capacity: measures the target; asked only where a share of it is wanted.
    """

    def __init__(
        self, tokenizer: Tokenizer, settings: ScenarioSettings, capacity: Capacity
    ) -> None:
        self._tokenizer = tokenizer
        self._settings = settings
        self._capacity = capacity

    def build(self, name: str) -> Scenario:
        """The scenario of that name.

        Raises:
            LoadTestError: there is none.
        """
        if name not in SCENARIOS:
            raise LoadTestError(f"no scenario named {name}; there are: {', '.join(SCENARIOS)}")
        return SCENARIOS[name](self)

    def grpo(self) -> Workload:
        """GRPO groups, one request each."""
        o = self._settings
        return workloads.grpo(
            self._tokenizer,
            groups=o.groups,
            responses=o.responses,
            prompt_tokens=o.prompt_tokens,
            seed=o.seed,
        )

    def texts(self, per_request: int) -> Workload:
        """Independent texts, so many a request."""
        o = self._settings
        return workloads.mixed(self._tokenizer, texts=o.texts, per_request=per_request, seed=o.seed)

    def _requests_per_second(self, workload: Workload) -> float:
        rate = self._settings.rate
        if rate is None:
            rate = self._settings.share * self._capacity(workload)
        return rate * len(workload.requests) / len(workload.texts)

    def at_poisson_times(self, name: str, workload: Workload) -> Scenario:
        """An open loop at the rate, or at the share of the capacity."""
        rate = self._requests_per_second(workload)
        schedule = poisson(len(workload.requests), rate=rate, seed=self._settings.seed)
        return Scenario(name, workload, schedule)

    def group_singles(self) -> Scenario:
        """The same groups at the same times, G single requests each."""
        groups = self.grpo()
        sizes = tuple(len(request.texts) for request in groups.requests)
        rate = self._requests_per_second(groups)
        of_groups = poisson(len(sizes), rate=rate, seed=self._settings.seed)
        schedule = group_singles(of_groups.times, sizes)
        return Scenario("group-singles", groups.as_singles("group-singles"), schedule, sizes)

    def burst(self) -> Scenario:
        """A rollout's end: every response singly within a short time; the makespan counts."""
        workload = self.grpo().as_singles("burst")
        o = self._settings
        schedule = burst(len(workload.requests), seconds=o.burst_seconds, seed=o.seed)
        return Scenario("burst", workload, schedule)

    def long_tail(self) -> Workload:
        """Short single texts with a very long one now and then."""
        o = self._settings
        return workloads.long_tail(self._tokenizer, texts=o.texts, longest=o.longest, seed=o.seed)

    def single(self, name: str, clients: int) -> Scenario:
        """Clients that send one text a request and wait for its answer."""
        return Scenario(name, self.texts(1), ClosedLoop(clients))


def at_once(name: str, workload: Workload) -> Scenario:
    """Every request at the very start."""
    return Scenario(name, workload, burst(len(workload.requests), seconds=0.0, seed=0))


SCENARIOS: dict[str, Callable[[ScenarioBuilder], Scenario]] = {
    "saturation": lambda build: at_once("saturation", build.grpo()),
    "groups": lambda build: build.at_poisson_times("groups", build.grpo()),
    "group-singles": ScenarioBuilder.group_singles,
    "burst": ScenarioBuilder.burst,
    "poisson": lambda build: build.at_poisson_times("poisson", build.texts(1)),
    "long-tail": lambda build: build.at_poisson_times("long-tail", build.long_tail()),
    "mixed": lambda build: at_once("mixed", build.texts(32)),
    "singles": lambda build: build.single("singles", SINGLES_CLIENTS),
    "one": lambda build: build.single("one", 1),
}
"""What each sends and when: the table of docs/guides/loadtest.md."""
