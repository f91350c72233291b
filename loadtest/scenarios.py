"""The shapes of traffic that `serve` sends, each fixed and seeded before it starts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loadtest import returning, workloads
from loadtest.errors import LoadTestError
from loadtest.schedule import ClosedLoop, Schedule, burst, group_singles, poisson
from loadtest.settings import ScenarioSettings
from loadtest.workloads import Tokenizer, Workload

SINGLES_CLIENTS = 32
MAX_LATENESS_MS = 2.0
SEED_BITS = 16
"""Of how many words' seeds one seed has."""
STAGGERED_LATENESS_MS = 50.0
"""Between texts that come tenths of a second apart, and whose work counts, not their latency."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A workload and when it is sent.

    Attributes:
        name: on the command line and in tables.
        workload: what is sent.
        schedule: when.
        group_sizes: where groups are sent singly: requests of each.
        allowed_lateness_ms: of the generator, so that the run may be believed.
    """

    name: str
    workload: Workload
    schedule: Schedule
    group_sizes: tuple[int, ...] = ()
    allowed_lateness_ms: float = MAX_LATENESS_MS


Capacity = Callable[[Sequence[Workload]], float]
"""Texts a second that the target scores when such workloads arrive, each at once."""
CAPACITY_RUNS = 3


class ScenarioBuilder:
    """Builds scenarios by name: of the same lengths and times, each with words of its own.

    A server may remember a text that it has scored, or what it begins with: none is sent twice.

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
        self._writing = 0  # of so many words' seeds

    def build(self, name: str) -> Scenario:
        """The scenario of that name; texts that were built before don't come again.

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
            words_seed=self._fresh(),
        )

    def _fresh(self) -> int:
        """A seed of words that were not written yet."""
        self._writing += 1
        return (self._settings.seed << SEED_BITS) + self._writing

    def texts(self, per_request: int) -> Workload:
        """Independent texts, so many a request."""
        o = self._settings
        return workloads.mixed(
            self._tokenizer,
            texts=o.texts,
            per_request=per_request,
            seed=o.seed,
            words_seed=self._fresh(),
        )

    def _requests_per_second(self, workload: Workload, make: Callable[[], Workload]) -> float:
        """The rate at which a workload is sent; `make` makes others of its kind."""
        rate = self._settings.rate
        if rate is None:
            measured = [make() for _ in range(CAPACITY_RUNS)]
            rate = self._settings.share * self._capacity(measured)
        return rate * len(workload.requests) / len(workload.texts)

    def at_poisson_times(self, name: str, make: Callable[[], Workload]) -> Scenario:
        """An open loop at the rate, or at the share of the capacity."""
        workload = make()
        rate = self._requests_per_second(workload, make)
        schedule = poisson(len(workload.requests), rate=rate, seed=self._settings.seed)
        return Scenario(name, workload, schedule)

    def group_singles(self) -> Scenario:
        """The same groups at the same times, G single requests each."""
        groups = self.grpo()
        sizes = tuple(len(request.texts) for request in groups.requests)
        rate = self._requests_per_second(groups, self.grpo)
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
        return workloads.long_tail(
            self._tokenizer,
            texts=o.texts,
            longest=o.longest,
            seed=o.seed,
            words_seed=self._fresh(),
        )

    def turns(self) -> Scenario:
        """As many chats as groups, scored again after each turn."""
        o = self._settings
        return Scenario(
            "turns", *returning.turns(self._tokenizer, chats=o.groups, seed=self._fresh())
        )

    def again(self) -> Scenario:
        """As many prompts as groups, whose responses come one after the other."""
        o = self._settings
        return Scenario(
            "again", *returning.again(self._tokenizer, prompts=o.groups, seed=self._fresh())
        )

    def staggered(self) -> Scenario:
        """Groups whose members come at times of their own."""
        o = self._settings
        return staggered(
            self._tokenizer,
            groups=o.groups,
            responses=o.responses,
            pace=o.pace,
            seed=o.seed,
            words_seed=self._fresh(),
        )

    def single(self, name: str, clients: int) -> Scenario:
        """Clients that send one text a request and wait for its answer."""
        return Scenario(name, self.texts(1), ClosedLoop(clients))


def at_once(name: str, workload: Workload) -> Scenario:
    """Every request at the very start."""
    return Scenario(name, workload, burst(len(workload.requests), seconds=0.0, seed=0))


def staggered(
    tokenizer: Tokenizer,
    *,
    groups: int,
    responses: int = 8,
    pace: float,
    seed: int,
    words_seed: int | None = None,
) -> Scenario:
    """See `returning.staggered`."""
    workload, schedule = returning.staggered(
        tokenizer,
        groups=groups,
        responses=responses,
        pace=pace,
        seed=seed,
        words_seed=words_seed,
    )
    return Scenario("staggered", workload, schedule, allowed_lateness_ms=STAGGERED_LATENESS_MS)


SCENARIOS: dict[str, Callable[[ScenarioBuilder], Scenario]] = {
    "saturation": lambda build: at_once("saturation", build.grpo()),
    "groups": lambda build: build.at_poisson_times("groups", build.grpo),
    "group-singles": ScenarioBuilder.group_singles,
    "burst": ScenarioBuilder.burst,
    "poisson": lambda build: build.at_poisson_times("poisson", lambda: build.texts(1)),
    "long-tail": lambda build: build.at_poisson_times("long-tail", build.long_tail),
    "mixed": lambda build: at_once("mixed", build.texts(32)),
    "singles": lambda build: build.single("singles", SINGLES_CLIENTS),
    "one": lambda build: build.single("one", 1),
    "turns": ScenarioBuilder.turns,
    "again": ScenarioBuilder.again,
    "staggered": ScenarioBuilder.staggered,
}
"""What each sends and when: the table of docs/guides/loadtest.md."""
