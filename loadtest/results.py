"""What a run's exchanges amount to: outcomes, rewards checked, latencies, whether to believe it."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from loadtest.connections import Reply
from loadtest.errors import LoadTestError, MalformedReply
from loadtest.generator import Exchange, Generator, Target
from loadtest.oracle import Oracle
from loadtest.peers.contract import Rewards
from loadtest.percentiles import distribution, percentile, summary
from loadtest.scenarios import MAX_LATENESS_MS, Scenario
from loadtest.work import Work, read_work
from loadtest.workloads import Request

Outcome = Literal["ok", "refused", "failed"]
REFUSALS = frozenset({429, 503})
MAX_LATENESS_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class CheckedItem:
    """An exchange's outcome.

    Attributes:
        outcome: ok: 200 and every reward right; refused: 429 or 503; failed: everything else.
        reason: why not ok; "wrong reward" where only that is amiss.
        max_error: largest absolute error of its rewards; None where there are none.
    """

    outcome: Outcome
    reason: str = ""
    max_error: float | None = None


@dataclass(frozen=True, slots=True)
class RunResult:
    """One scenario's figures.

    Attributes:
        name: of the scenario.
        offered: requests that the schedule holds.
        outcomes: requests by outcome; they add up to `offered`.
        reasons: requests by reason of not being ok.
        texts_ok: texts of ok requests.
        makespan_seconds: from the first intended time to the last reply.
        latencies_ms: of ok requests, from the intended time, in order of sending.
        group_latencies_ms: where groups were sent singly, until the last of each whole group.
        lateness_p99_ms: how late the generator was.
        max_error: largest absolute error of any reward; None where none was read.
        allowed_lateness_ms: of the generator.
        work: what the servers did for it, by their counters.
    """

    name: str
    offered: int
    outcomes: dict[Outcome, int]
    reasons: dict[str, int]
    texts_ok: int
    makespan_seconds: float
    latencies_ms: tuple[float, ...]
    group_latencies_ms: tuple[float, ...]
    lateness_p99_ms: float
    max_error: float | None
    allowed_lateness_ms: float = MAX_LATENESS_MS
    work: Work = field(default_factory=Work)

    @property
    def texts_per_second(self) -> float:
        """Goodput: texts of ok requests over the makespan."""
        return self.texts_ok / self.makespan_seconds if self.makespan_seconds > 0 else 0.0

    @property
    def void(self) -> str:
        """Why the run must not be believed; empty if it may."""
        bound = self.allowed_lateness_ms
        if self.latencies_ms:
            bound = max(bound, MAX_LATENESS_SHARE * percentile(sorted(self.latencies_ms), 50))
        if self.lateness_p99_ms <= bound:
            return ""
        return (
            f"the generator was late: p99 {self.lateness_p99_ms:.1f} ms, allowed {bound:.1f} ms; "
            "give it a core of its own (--core), a lower rate, or a quiet machine"
        )

    @property
    def remembered(self) -> str:
        """Why its rewards cost less than they should; empty if each was computed."""
        count = self.work.kept_rewards or 0
        if not count:
            return ""
        return (
            f"{count:.0f} rewards were remembered, so that these texts had been sent before; "
            "give another --seed, or start the server anew"
        )

    @property
    def is_clean(self) -> bool:
        """Whether the run may be believed and nothing failed; refusals are answers too."""
        return not self.void and not self.remembered and not self.outcomes["failed"]

    def to_json(self) -> dict[str, Any]:
        """As JSON values, with the whole percentile distribution."""
        return {
            "name": self.name,
            "offered": self.offered,
            "ok": self.outcomes["ok"],
            "refused": self.outcomes["refused"],
            "failed": self.outcomes["failed"],
            "reasons": self.reasons,
            "texts_ok": self.texts_ok,
            "texts_per_second": self.texts_per_second,
            "makespan_seconds": self.makespan_seconds,
            "latency_ms": summary(self.latencies_ms),
            "group_latency_ms": summary(self.group_latencies_ms),
            "lateness_p99_ms": self.lateness_p99_ms,
            "void": self.void,
            "max_error": self.max_error,
            "work": self.work.to_json(),
            "distribution": [
                {"value_ms": row.value_ms, "percentile": row.percentile, "count": row.count}
                for row in distribution(self.latencies_ms)
            ],
        }


def run_scenario(
    scenario: Scenario, target: Target, oracle: Oracle, *, core: int | None = None
) -> RunResult:
    """Learn the truth, send, check every reward.

    Args:
        scenario: what to send and when.
        target: whom to.
        oracle: of its models.
        core: the generator's processor core.
    """
    oracle.learn(scenario.workload.texts)
    before = read_work(target)
    exchanges = Generator(target, core=core).run(scenario.workload, scenario.schedule)
    work = read_work(target).since(before)
    return replace(check_run(scenario, exchanges, target, oracle), work=work)


def check_run(
    scenario: Scenario, exchanges: Sequence[Exchange], target: Target, oracle: Oracle | None
) -> RunResult:
    """Read every reply, check every reward and add up.

    Args:
        scenario: what was sent.
        exchanges: one per request, in the workload's order.
        target: whom it was sent to.
        oracle: knows the true rewards; None leaves them unchecked.

    Raises:
        LoadTestError: a request is unaccounted for.
    """
    workload = scenario.workload
    if [exchange.index for exchange in exchanges] != list(range(len(workload.requests))):
        raise LoadTestError("requests were lost or doubled by the generator: this is a bug")
    pairs = list(zip(exchanges, workload.requests, strict=True))
    checked = [check_one(exchange, request, target, oracle) for exchange, request in pairs]
    outcomes: dict[Outcome, int] = {"ok": 0, "refused": 0, "failed": 0}
    for item in checked:
        outcomes[item.outcome] += 1
    is_ok = [item.outcome == "ok" for item in checked]
    errors = [item.max_error for item in checked if item.max_error is not None]
    lateness = sorted((exchange.sent - exchange.intended) * 1e3 for exchange in exchanges)
    return RunResult(
        name=scenario.name,
        offered=len(workload.requests),
        outcomes=outcomes,
        reasons=dict(Counter(item.reason for item in checked if item.reason)),
        texts_ok=sum(len(r.texts) for (_, r), ok in zip(pairs, is_ok, strict=True) if ok),
        makespan_seconds=_makespan(exchanges),
        latencies_ms=tuple(
            latency_ms(exchange) for exchange, ok in zip(exchanges, is_ok, strict=True) if ok
        ),
        group_latencies_ms=_group_latencies(exchanges, is_ok, scenario.group_sizes),
        lateness_p99_ms=percentile(lateness, 99) if lateness else 0.0,
        max_error=max(errors, default=None),
        allowed_lateness_ms=scenario.allowed_lateness_ms,
    )


def latency_ms(exchange: Exchange) -> float:
    """From the intended time to the reply, in milliseconds."""
    return (exchange.done - exchange.intended) * 1e3


def check_one(
    exchange: Exchange, request: Request, target: Target, oracle: Oracle | None
) -> CheckedItem:
    """One exchange's outcome."""
    if exchange.failure:
        return CheckedItem("failed", exchange.failure)
    statuses = [reply.status for reply in exchange.replies]
    bad = [status for status in statuses if status != 200]
    if bad:
        refused = all(status in REFUSALS for status in bad)
        return CheckedItem("refused" if refused else "failed", f"status {bad[0]}")
    try:
        rewards = _rewards(exchange.replies, request, target)
    except MalformedReply as exc:
        return CheckedItem("failed", str(exc))
    if oracle is None:
        return CheckedItem("ok")
    errors = oracle.errors(request, rewards)
    largest = max(error for error, _ in errors)
    if any(wrong for _, wrong in errors):
        return CheckedItem("failed", "wrong reward", largest)
    return CheckedItem("ok", max_error=largest)


def _rewards(replies: Sequence[Reply], request: Request, target: Target) -> Rewards:
    found: Rewards = {}
    for endpoint, reply in zip(target.endpoints, replies, strict=True):
        for role, values in target.peer.rewards(reply.body, request).items():
            found[role or endpoint.role] = values
    return found


def _makespan(exchanges: Sequence[Exchange]) -> float:
    if not exchanges:
        return 0.0
    return max(e.done for e in exchanges) - min(e.intended for e in exchanges)


def _group_latencies(
    exchanges: Sequence[Exchange], is_ok: Sequence[bool], sizes: Sequence[int]
) -> tuple[float, ...]:
    """Milliseconds from a group's intended time to its last reply; groups that failed left out."""
    latencies: list[float] = []
    for begin, end in itertools.pairwise(itertools.accumulate(sizes, initial=0)):
        if all(is_ok[begin:end]):
            latencies.append(max(latency_ms(exchange) for exchange in exchanges[begin:end]))
    return tuple(latencies)
