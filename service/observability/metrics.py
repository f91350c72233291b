"""What the service tells Prometheus of HTTP, queue, engine and selection.

Every app has its own registry (the client's default is a process global, which a second app in a
test would break). Labels come from closed sets only (routes of the app, codes, models, reasons),
never from what a caller sent. Enumerated series start at 0, so that rates exist before the first
event.
"""

from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from rm_core.types import ModelName, ModelProfile
from service.errors import RejectionReason, Stage
from service.observability.drift import RewardDrift

METRICS_MEDIA_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_REWARDS = (-20, -10, -5, -4, -3, -2, -1.7346, -1, -0.5, 0, 0.5, 1, 2, 3, 4, 5, 10, 20)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REJECTIONS: tuple[RejectionReason, ...] = ("queue_full", "token_budget", "queue_wait")
_STAGES: tuple[Stage, ...] = ("admit", "queue", "inference")
_SPLITS = ("oom", "error")
_FAILURES = ("oom", "nonfinite", "too_long", "tokenize", "internal")
_ABORTS = ("client_disconnect", "receive_timeout", "too_large")
_OUTCOMES = ("first", "second", "tie")


class Metrics:
    """The instruments of one app; other modules add theirs to `registry`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._drift: RewardDrift | None = None  # until the models are known
        self._http()
        self._queue()
        self._engine()
        self._rewards()

    def _http(self) -> None:
        r = self.registry
        self.requests = Counter(
            "rm_http_requests", "Answered requests.", ("route", "method", "code"), registry=r
        )
        self.request_seconds = Histogram(
            "rm_http_request_duration_seconds",
            "From the first byte of a request to the last of its reply.",
            ("route",),
            buckets=_SECONDS,
            registry=r,
        )
        self.in_flight = Gauge(
            "rm_http_requests_in_flight", "Requests being answered now.", registry=r
        )
        self.body_bytes = Histogram(
            "rm_http_request_body_bytes",
            "Size of request bodies as read.",
            buckets=[2.0**k for k in range(10, 24)],
            registry=r,
        )
        self.aborted = Counter(
            "rm_http_aborted", "Requests that ended without their answer.", ("reason",), registry=r
        )
        self.auth_failures = Counter(
            "rm_auth_failures", "Requests refused for their API key.", ("reason",), registry=r
        )
        self.loop_lag = Histogram(
            "rm_event_loop_lag_seconds",
            "How late the event loop wakes a sleeper; above 0.2 s something blocks it.",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
            registry=r,
        )
        self.ready = Gauge("rm_ready", "1 while /health/ready answers 200.", registry=r)
        self.draining = Gauge("rm_draining", "1 from SIGTERM to the end.", registry=r)
        for reason in _ABORTS:
            self.aborted.labels(reason)
        for reason in ("missing", "invalid"):
            self.auth_failures.labels(reason)

    def _queue(self) -> None:
        r = self.registry
        self.rejections = Counter(
            "rm_admission_rejected", "Items refused at the door.", ("route", "reason"), registry=r
        )
        self.queue_items = Gauge(
            "rm_queue_items", "Items admitted and not yet taken by the device.", registry=r
        )
        self.queue_tokens = Gauge("rm_queue_tokens", "Their tokens.", registry=r)
        self.queue_capacity_items = Gauge(
            "rm_queue_capacity_items", "Most items admitted and not finished.", registry=r
        )
        self.queue_oldest = Gauge(
            "rm_queue_oldest_age_seconds", "How long the first in line has waited.", registry=r
        )
        self.queue_wait = Histogram(
            "rm_queue_wait_seconds",
            "From admission to the device, per item.",
            ("route",),
            buckets=_SECONDS,
            registry=r,
        )
        self.deadlines = Counter(
            "rm_deadline_exceeded", "Items whose caller's deadline passed.", ("stage",), registry=r
        )
        self.cancelled = Counter(
            "rm_cancelled", "Items whose caller went away.", ("stage",), registry=r
        )
        for stage in _STAGES:
            self.deadlines.labels(stage)
            self.cancelled.labels(stage)

    def _engine(self) -> None:
        r = self.registry
        self.pack_items = Histogram(
            "rm_batch_size",
            "Sequences per forward pass.",
            buckets=[2.0**k for k in range(10)],
            registry=r,
        )
        self.pack_tokens = Histogram(
            "rm_batch_tokens",
            "Tokens per forward pass.",
            buckets=[2.0**k for k in range(5, 19)],
            registry=r,
        )
        self.forward_seconds = Histogram(
            "rm_batch_forward_seconds", "Time of a forward pass.", buckets=_SECONDS, registry=r
        )
        self.tokenize_seconds = Histogram(
            "rm_tokenize_seconds", "Time to tokenise a request.", buckets=_SECONDS, registry=r
        )
        self.sequences = Counter(
            "rm_sequences", "Responses that were given a reward.", ("route",), registry=r
        )
        self.tokens = Counter("rm_tokens", "Tokens that were read.", ("kind",), registry=r)
        self.truncated = Counter(
            "rm_sequences_truncated", "Sequences cut to fit.", ("side",), registry=r
        )
        self.splits = Counter(
            "rm_batch_splits", "Packs that were halved after a failure.", ("reason",), registry=r
        )
        self.failures = Counter(
            "rm_item_failures", "Items without a reward.", ("reason",), registry=r
        )
        self.busy_seconds = Counter(
            "rm_engine_busy_seconds", "Time the device spent on forward passes.", registry=r
        )
        self.model_info = Gauge(
            "rm_model_info", "The loaded models; always 1.", ("model", "weights_sha256"), registry=r
        )
        self.tokens.labels("real")
        self.truncated.labels("prompt")
        for reason in _SPLITS:
            self.splits.labels(reason)
        for reason in _FAILURES:
            self.failures.labels(reason)

    def _rewards(self) -> None:
        r = self.registry
        self.reward = Histogram(
            "rm_reward_raw", "Raw rewards.", ("model",), buckets=_REWARDS, registry=r
        )
        self.nonfinite = Counter(
            "rm_reward_nonfinite", "Rewards that were NaN or infinite.", registry=r
        )
        self.selection = Counter(
            "rm_selection", "Whose reward was selected.", ("route", "branch"), registry=r
        )
        self.compare = Counter(
            "rm_compare",
            "Who won comparisons of two; swapped orders show position bias.",
            ("outcome",),
            registry=r,
        )
        self.compare_margin = Histogram(
            "rm_compare_margin",
            "Best minus second-best selected reward.",
            buckets=(0, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8),
            registry=r,
        )
        self.group_size = Histogram(
            "rm_group_size",
            "Responses per prompt.",
            buckets=[2.0**k for k in range(8)],
            registry=r,
        )
        self.group_std = Histogram(
            "rm_group_reward_std",
            "Spread of a group's selected rewards (TRL: reward_std).",
            buckets=(0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
            registry=r,
        )
        self.groups = Counter("rm_groups", "Groups that were scored.", registry=r)
        self.groups_zero_std = Counter(
            "rm_groups_zero_std",
            "Groups whose rewards are equal but for rounding (TRL: frac_reward_zero_std).",
            registry=r,
        )
        self.group_duplicates = Counter(
            "rm_group_duplicate_responses",
            "Responses that equal an earlier one of their group; many: the policy has collapsed.",
            registry=r,
        )
        for outcome in _OUTCOMES:
            self.compare.labels(outcome)

    def prepare(
        self, routes: Sequence[str], profiles: Mapping[ModelName, ModelProfile], capacity_items: int
    ) -> None:
        """Start the enumerated series of the app's own routes and models at 0.

        Args:
            routes: paths of the routes that score.
            profiles: the loaded models.
            capacity_items: the queue's bound.
        """
        self.queue_capacity_items.set(capacity_items)
        self._drift = RewardDrift(self.registry, profiles)
        for name, profile in profiles.items():
            self.model_info.labels(name, profile.digest).set(1)
            self.reward.labels(name)
        for route in routes:
            self.sequences.labels(route)
            self.queue_wait.labels(route)
            for reason in _REJECTIONS:
                self.rejections.labels(route, reason)
            for name in profiles:
                self.selection.labels(route, name)

    def rewarded(self, name: ModelName, reward: float) -> None:
        """One model gave a finite raw reward."""
        self.reward.labels(name).observe(reward)
        if self._drift is not None:
            self._drift.observe(name, reward)

    def watch_queue(
        self, items: Callable[[], float], tokens: Callable[[], float], age: Callable[[], float]
    ) -> None:
        """Read the queue's gauges from the queue itself at each scrape."""
        self.queue_items.set_function(items)
        self.queue_tokens.set_function(tokens)
        self.queue_oldest.set_function(age)

    def answered(self, route: str, method: str, code: int, seconds: float) -> None:
        """One request was answered."""
        known = method if method in _METHODS else "other"
        self.requests.labels(route, known, str(code)).inc()
        self.request_seconds.labels(route).observe(seconds)

    def rejected(self, route: str, reason: RejectionReason, num_items: int) -> None:
        """A request of `num_items` was refused by the queue."""
        self.rejections.labels(route, reason).inc(num_items)

    def deadline_exceeded(self, stage: Stage, num_items: int) -> None:
        """A request of `num_items` ran out of time."""
        self.deadlines.labels(stage).inc(num_items)

    def selected(self, route: str, names: Sequence[ModelName]) -> None:
        """The rule selected these models for the responses of one request."""
        for name in names:
            self.selection.labels(route, name).inc()

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self.registry)
