"""Metrics of the durable state and of the rewards that leave: whitening, idempotency, PPO.

Names follow Prometheus: seconds, nats, `_total`. A stream's name is a label of the first
32 streams only, so that the number of series stays bounded; the others show in the totals.
"""

from collections.abc import Iterable
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from rm_core.rewards.ppo import ShapedSample
from service.streams.database import Recovery
from service.streams.faults import FAULT_KINDS, Fault
from service.streams.idempotency import IdempotencyOutcome
from service.streams.stream_table import Stream
from service.streams.transaction import Applied

MAX_LABELLED_STREAMS = 32

_KL_EDGES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
_REWARD_EDGES = tuple(edge / 2 for edge in range(-10, 11))
_PENALTY_EDGES = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_COMMIT_EDGES = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
_UPDATE_RESULTS = ("applied", "duplicate", "conflict", "frozen", "nonfinite", "not_requested")
_IDEMPOTENCY_RESULTS = (*get_args(IdempotencyOutcome), "conflict", "evicted")


class RewardMetrics:
    """The instruments; every label value exists from the start, at 0.

    Args:
        registry: the app's own.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, ("stream",), registry=registry)

        def histogram(name: str, text: str, edges: Iterable[float]) -> Histogram:
            return Histogram(name, text, buckets=tuple(edges), registry=registry)

        def counter(name: str, text: str, label: str | None, values: Iterable[str]) -> Counter:
            made = Counter(name, text, (label,) if label else (), registry=registry)
            for value in values:
                made.labels(value)
            return made

        self._count = gauge("rm_whiten_count", "Samples in the stream, its baseline included.")
        self._mean = gauge("rm_whiten_mean", "Mean of the stream's calibrated rewards.")
        self._std = gauge("rm_whiten_std", "Their unbiased standard deviation.")
        self._frozen = gauge("rm_whiten_frozen", "1 where the stream refuses updates.")
        self._generation = gauge(
            "rm_whiten_generation", "How often the stream was reset or restored."
        )
        self._updates = counter(
            "rm_whiten_updates_total",
            "Scored items by what they did to their stream.",
            "result",
            _UPDATE_RESULTS,
        )
        self._applied = counter(
            "rm_whiten_items_applied_total", "Rewards merged into a stream.", None, ()
        )
        self._forgotten = counter(
            "rm_whiten_item_ids_forgotten_total",
            "Counted item ids that went to keep the bound; raise it if retries come later.",
            None,
            (),
        )
        self._commit = histogram(
            "rm_whiten_commit_seconds", "Commit of statistics and ledger.", _COMMIT_EDGES
        )
        self._last_commit = Gauge(
            "rm_whiten_last_commit_timestamp_seconds",
            "Unix time of the last commit that updated a stream.",
            registry=registry,
        )
        self._recoveries = counter(
            "rm_whiten_recoveries_total",
            "Openings of the state file, by what was found.",
            "result",
            get_args(Recovery),
        )
        self._faults = counter(
            "rm_state_faults_total", "Faults of the state that began.", "kind", FAULT_KINDS
        )
        self._fault = Gauge(
            "rm_state_fault",
            "1 while the stateful routes can't answer for this reason.",
            ("kind",),
            registry=registry,
        )
        self.state_fault(None)
        self._idempotency = counter(
            "rm_idempotency_total", "Keyed requests, by outcome.", "result", _IDEMPOTENCY_RESULTS
        )
        self._entries = Gauge(
            "rm_idempotency_entries", "Replies in the ledger, at most.", registry=registry
        )
        self._kl = histogram("rm_ppo_kl_nats", "KL estimate of a sequence.", _KL_EDGES)
        self._penalty = histogram("rm_ppo_kl_penalty", "β·KL of a sequence.", _PENALTY_EDGES)
        self._reward = histogram("rm_ppo_reward", "Shaped reward of a sequence.", _REWARD_EDGES)
        self._whitened = histogram(
            "rm_reward_whitened", "Whitened reward of a sequence.", _REWARD_EDGES
        )
        self._beta = Gauge("rm_ppo_kl_coef", "β of the last request.", registry=registry)
        self._kl_clamped = counter(
            "rm_ppo_kl_clamped_tokens_total", "Tokens whose log-ratio was clamped.", None, ()
        )
        self._kl_clipped = counter(
            "rm_ppo_kl_clipped_tokens_total",
            "Tokens whose KL estimate kl_clip bounded; a policy far from its reference.",
            None,
            (),
        )
        self._reward_clipped = counter(
            "rm_ppo_reward_clipped_total",
            "Sequences whose whitened reward reward_clip bounded.",
            None,
            (),
        )
        self._labelled: set[str] = set()

    def recovered(self, recovery: Recovery) -> None:
        """The state file was opened."""
        self._recoveries.labels(recovery).inc()

    def state_fault(self, fault: Fault | None) -> None:
        """The state can't be used any more; None: it can again."""
        for kind in FAULT_KINDS:
            self._fault.labels(kind).set(float(fault is not None and fault.kind == kind))
        if fault is not None:
            self._faults.labels(fault.kind).inc()

    def stream(self, stream: Stream) -> None:
        """A stream as it now stands."""
        if stream.name not in self._labelled:
            if len(self._labelled) >= MAX_LABELLED_STREAMS:
                return
            self._labelled.add(stream.name)
        self._count.labels(stream.name).set(stream.statistics.count)
        self._mean.labels(stream.name).set(stream.statistics.mean)
        self._std.labels(stream.name).set(stream.statistics.std or 0.0)
        self._frozen.labels(stream.name).set(float(stream.frozen))
        self._generation.labels(stream.name).set(stream.generation)

    def forgotten_stream(self, name: str) -> None:
        """A stream was deleted: its series end."""
        if name in self._labelled:
            self._labelled.discard(name)
            for gauge in (self._count, self._mean, self._std, self._frozen, self._generation):
                gauge.remove(name)

    def updates(self, result: str, num_items: int) -> None:
        """What scored items did to their stream: one of the six results."""
        self._updates.labels(result).inc(num_items)
        if result == "applied":
            self._applied.inc(num_items)

    def committed(self, applied: Applied) -> None:
        """A request's transaction ended."""
        self._entries.set(applied.ledger_entries)
        self._idempotency.labels("evicted").inc(applied.replies_evicted)
        if applied.saved is not None:
            self.stream(applied.saved)
            self._commit.observe(applied.commit_seconds)
            self._last_commit.set(applied.committed_at)
            self._forgotten.inc(applied.ids_forgotten)

    def idempotency(self, result: str) -> None:
        """A keyed request's outcome."""
        self._idempotency.labels(result).inc()

    def shaped(self, outcome: ShapedSample) -> None:
        """One sequence's shaped reward."""
        self._whitened.observe(outcome.whitened)
        self._reward.observe(outcome.shaped.reward)
        self._reward_clipped.inc(float(outcome.is_clipped))
        if outcome.sample.kl is not None:
            self._kl.observe(outcome.sample.kl.total)
            self._penalty.observe(outcome.shaped.penalty)
            self._kl_clamped.inc(outcome.sample.kl.num_clamped)
            self._kl_clipped.inc(outcome.sample.kl.num_clipped)

    def beta(self, beta: float) -> None:
        """The coefficient of the latest request."""
        self._beta.set(beta)
