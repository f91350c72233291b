"""What serving adds: our server over HTTP beside the bare engine on the same texts, in one run.

Each round brings fresh texts and asks the engine in this process first and the server next. The
server's process idles while the engine runs, and the other way round.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadtest import workloads
from loadtest.bench.strategies import Ours
from loadtest.errors import LoadTestError
from loadtest.generator import Target
from loadtest.oracle import Oracle
from loadtest.percentiles import percentile
from loadtest.report import markdown_table
from loadtest.results import RunResult, run_scenario
from loadtest.scenarios import Scenario, at_once
from loadtest.schedule import ClosedLoop, poisson
from loadtest.servers import Launch
from loadtest.settings import OverheadSettings
from loadtest.workloads import Tokenizer, Workload
from rm_core.engine import Engine, load_engine
from rm_core.engine.packing.policy import Budget
from rm_core.types import Dialogue

BUDGET = Budget(max_tokens=8192, max_items=256)
"""The service's own defaults."""

HALF = 0.5
_WARM_UP_SEED = 1_000_003
_OTHER_WORDS = 500_000
"""Between the seeds of two workloads with equal lengths."""
_SHORT_WORDS = 250_000
"""Between those of groups and short texts, which would begin alike."""


@dataclass(slots=True)
class Overhead:
    """What came of it; one value a round.

    Attributes:
        engine: texts per second of the engine alone, GRPO.
        grouped: of the server, one request a group, all at once.
        singles: of the server, the same texts one a request, all at once.
        bare_ms: median milliseconds of one short text's forward in the engine alone.
        one_ms: median milliseconds of a request with that text from a single client.
        loaded: one short text a request at half of the rate that the server reaches with them.
        unclean: what must not be believed, or failed.
    """

    engine: list[float] = field(default_factory=list)
    grouped: list[float] = field(default_factory=list)
    singles: list[float] = field(default_factory=list)
    bare_ms: list[float] = field(default_factory=list)
    one_ms: list[float] = field(default_factory=list)
    loaded: RunResult | None = None
    unclean: list[str] = field(default_factory=list)

    @property
    def added_ms(self) -> list[float]:
        """Latency that serving adds to one short text, by round."""
        return [one - bare for one, bare in zip(self.one_ms, self.bare_ms, strict=True)]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "engine_texts_per_second": self.engine,
            "grouped_texts_per_second": self.grouped,
            "singles_texts_per_second": self.singles,
            "bare_ms": self.bare_ms,
            "one_ms": self.one_ms,
            "added_ms": self.added_ms,
            "half_load": None if self.loaded is None else self.loaded.to_json(),
            "unclean": self.unclean,
        }

    def table(self) -> str:
        """Medians, with the smallest and largest value of the rounds."""
        rows = [
            ["engine alone, GRPO", "texts/s", _spread(self.engine)],
            ["over HTTP, a request a group", "texts/s", _spread(self.grouped)],
            ["÷ engine alone", "", _spread(_ratios(self.grouped, self.engine), ".2f")],
            ["over HTTP, a request a response", "texts/s", _spread(self.singles)],
            ["÷ a request a group", "", _spread(_ratios(self.singles, self.grouped), ".2f")],
            ["a short text's forward", "ms, p50", _spread(self.bare_ms)],
            ["a request with it", "ms, p50", _spread(self.one_ms)],
            ["added", "ms", _spread(self.added_ms)],
        ]
        if self.loaded is not None:
            latencies = sorted(self.loaded.latencies_ms)
            p50, p99 = percentile(latencies, 50), percentile(latencies, 99)
            rows += [
                ["short texts at half load", "ms, p50", f"{p50:.1f}"],
                ["", "ms, p99", f"{p99:.1f}"],
                ["p99 ÷ p50", "", f"{p99 / p50:.2f}"],
            ]
        lines = [markdown_table(["", "unit", "median (least–most)"], rows)]
        return "\n\n".join([*lines, *(f"**{why}**" for why in self.unclean)])


def measure_overhead(
    launch: Launch,
    model: Path,
    tokenizer: Tokenizer,
    settings: OverheadSettings,
    say: Callable[[str], None],
) -> Overhead:
    """Run everything; takes a few minutes.

    Args:
        launch: of our server.
        model: the one checkpoint that both load.
        tokenizer: its tokenizer.
        settings: sizes.
        say: told what is going on.

    Raises:
        LoadTestError: the server answers nothing right.
    """
    engine = load_engine({"safety": str(model)}, device="cpu")
    found = Overhead()
    with launch.running({"safety": model}) as target:
        client = _Client(target, Oracle({"safety": model}), found)
        warm = _grpo(tokenizer, settings, _WARM_UP_SEED)
        _engine_rate(engine, warm)
        client.rate(at_once("warm-up", warm))
        for number in range(settings.rounds):
            say(f"round {number + 1}")
            seed = settings.seed + number
            _throughput(engine, client, tokenizer, settings, seed, found)
            short = _short(tokenizer, settings, settings.short_texts, settings.seed + number)
            found.bare_ms.append(_forward_ms(engine, short))
            one = client.run(Scenario("one", short, ClosedLoop(1)))
            found.one_ms.append(statistics.median(one.latencies_ms))
        say("half load")
        found.loaded = _half_load(client, tokenizer, settings)
    return found


class _Client:
    """Runs scenarios against the server, and notes what went wrong in them."""

    def __init__(self, target: Target, oracle: Oracle, found: Overhead) -> None:
        self._target = target
        self._oracle = oracle
        self._found = found

    def run(self, scenario: Scenario) -> RunResult:
        result = run_scenario(scenario, self._target, self._oracle)
        if not result.texts_ok:
            raise LoadTestError(f"the server answered nothing right: {result.reasons}")
        if not result.is_clean:
            self._found.unclean.append(
                f"{scenario.name}: {result.void or ', '.join(result.reasons)}"
            )
        return result

    def rate(self, scenario: Scenario) -> float:
        return self.run(scenario).texts_per_second


def _throughput(
    engine: Engine,
    client: _Client,
    tokenizer: Tokenizer,
    settings: OverheadSettings,
    seed: int,
    found: Overhead,
) -> None:
    grouped = _grpo(tokenizer, settings, seed)
    # The same lengths in other words: the server knows the texts of the groups by then.
    singles = _grpo(tokenizer, settings, seed, words_seed=seed + _OTHER_WORDS)
    found.engine.append(_engine_rate(engine, grouped))
    found.grouped.append(client.rate(at_once("grouped", grouped)))
    found.singles.append(client.rate(at_once("singles", singles.as_singles("singles"))))


def _half_load(client: _Client, tokenizer: Tokenizer, settings: OverheadSettings) -> RunResult:
    workload = _short(tokenizer, settings, settings.loaded_texts, settings.seed + settings.rounds)
    few = _short(tokenizer, settings, settings.short_texts, settings.seed + _OTHER_WORDS)
    capacity = client.rate(at_once("capacity", few))
    schedule = poisson(len(workload.requests), rate=HALF * capacity, seed=settings.seed)
    return client.run(Scenario("half load", workload, schedule))


def _grpo(
    tokenizer: Tokenizer, settings: OverheadSettings, seed: int, *, words_seed: int | None = None
) -> Workload:
    return workloads.grpo(
        tokenizer,
        groups=settings.groups,
        responses=settings.responses,
        prompt_tokens=settings.prompt_tokens,
        seed=seed,
        words_seed=words_seed,
    )


def _short(tokenizer: Tokenizer, settings: OverheadSettings, count: int, seed: int) -> Workload:
    lengths = [settings.short_tokens] * count
    words = seed + _SHORT_WORDS
    return workloads.independent(
        tokenizer, lengths=lengths, per_request=1, name="short", seed=words
    )


def _engine_rate(engine: Engine, workload: Workload) -> float:
    """Texts per second, tokenising included, as over HTTP."""
    began = time.perf_counter()
    items = [engine.encode(Dialogue(text.prompt, text.response)) for text in workload.texts]
    Ours("engine", engine, items, [text.prompt for text in workload.texts], BUDGET).run()
    return len(items) / (time.perf_counter() - began)


def _forward_ms(engine: Engine, workload: Workload) -> float:
    """Median milliseconds of one text's forward; its tokenising belongs to what serving adds."""
    seconds = []
    for text in workload.texts:
        item = engine.encode(Dialogue(text.prompt, text.response))
        began = time.perf_counter()
        engine.forward([item])
        seconds.append(time.perf_counter() - began)
    return 1000 * statistics.median(seconds)


def _ratios(values: Sequence[float], of: Sequence[float]) -> list[float]:
    return [value / base for value, base in zip(values, of, strict=True)]


def _spread(values: Sequence[float], spec: str = ".1f") -> str:
    low, high = format(min(values), spec), format(max(values), spec)
    return f"{format(statistics.median(values), spec)} ({low}–{high})"
