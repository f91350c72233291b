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

    def _grpo(self) -> Workload:
        o = self._settings
        return workloads.grpo(
            self._tokenizer,
            groups=o.groups,
            responses=o.responses,
            prompt_tokens=o.prompt_tokens,
            seed=o.seed,
        )

    def _texts(self, per_request: int) -> Workload:
        o = self._settings
        return workloads.mixed(self._tokenizer, texts=o.texts, per_request=per_request, seed=o.seed)

    def _requests_per_second(self, workload: Workload) -> float:
        rate = self._settings.rate
        if rate is None:
            rate = self._settings.share * self._capacity(workload)
        return rate * len(workload.requests) / len(workload.texts)

    def _at_poisson_times(self, name: str, workload: Workload) -> Scenario:
        rate = self._requests_per_second(workload)
        schedule = poisson(len(workload.requests), rate=rate, seed=self._settings.seed)
        return Scenario(name, workload, schedule)

    def saturation(self) -> Scenario:
        """GRPO groups, one request each, all at once."""
        return at_once("saturation", self._grpo())

    def groups(self) -> Scenario:
        """GRPO groups, one request each, at Poisson times."""
        return self._at_poisson_times("groups", self._grpo())

    def group_singles(self) -> Scenario:
        """The same groups at the same times, G single requests each."""
        groups = self._grpo()
        sizes = tuple(len(request.texts) for request in groups.requests)
        rate = self._requests_per_second(groups)
        of_groups = poisson(len(sizes), rate=rate, seed=self._settings.seed)
        schedule = group_singles(of_groups.times, sizes)
        return Scenario("group-singles", groups.as_singles("group-singles"), schedule, sizes)

    def burst(self) -> Scenario:
        """A rollout's end: every response singly within a short time; the makespan counts."""
        workload = self._grpo().as_singles("burst")
        o = self._settings
        schedule = burst(len(workload.requests), seconds=o.burst_seconds, seed=o.seed)
        return Scenario("burst", workload, schedule)

    def poisson(self) -> Scenario:
        """Independent single texts at Poisson times."""
        return self._at_poisson_times("poisson", self._texts(1))

    def long_tail(self) -> Scenario:
        """Short single texts with a very long one now and then, at Poisson times."""
        o = self._settings
        workload = workloads.long_tail(
            self._tokenizer, texts=o.texts, longest=o.longest, seed=o.seed
        )
        return self._at_poisson_times("long-tail", workload)

    def mixed(self) -> Scenario:
        """Independent texts, 32 a request, all at once."""
        return at_once("mixed", self._texts(32))

    def singles(self) -> Scenario:
        """32 clients, one text a request, each waiting for its answer."""
        return Scenario("singles", self._texts(1), ClosedLoop(SINGLES_CLIENTS))

    def one(self) -> Scenario:
        """A single client, one text a request."""
        return Scenario("one", self._texts(1), ClosedLoop(1))


def at_once(name: str, workload: Workload) -> Scenario:
    """Every request at the very start."""
    return Scenario(name, workload, burst(len(workload.requests), seconds=0.0, seed=0))


SCENARIOS: dict[str, Callable[[ScenarioBuilder], Scenario]] = {
    "saturation": ScenarioBuilder.saturation,
    "groups": ScenarioBuilder.groups,
    "group-singles": ScenarioBuilder.group_singles,
    "burst": ScenarioBuilder.burst,
    "poisson": ScenarioBuilder.poisson,
    "long-tail": ScenarioBuilder.long_tail,
    "mixed": ScenarioBuilder.mixed,
    "singles": ScenarioBuilder.singles,
    "one": ScenarioBuilder.one,
}
