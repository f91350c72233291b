"""What the service tells Prometheus of HTTP, queue, engine and selection.

Every app has its own registry (the client's default is a process global, which a second app in a
test would break). Labels come from closed sets only (routes of the app, codes, models, reasons),
never from what a caller sent. Enumerated series start at 0, so that rates exist before the first
event.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from rm_client.models_admin import SwapOutcome
from rm_core.types import ROLES, ModelName, ModelProfile, TextWarning
from service.errors import RejectionReason, Stage
from service.observability.drift import RewardDrift

METRICS_MEDIA_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_REWARDS = (-20, -10, -5, -4, -3, -2, -1.7346, -1, -0.5, 0, 0.5, 1, 2, 3, 4, 5, 10, 20)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REJECTIONS: tuple[RejectionReason, ...] = get_args(RejectionReason)
_STAGES: tuple[Stage, ...] = ("admit", "queue", "inference")
_WARNINGS: tuple[TextWarning, ...] = get_args(TextWarning)
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
        self.requests = self._counter(
            "rm_http_requests", "Answered requests.", "route", "method", "code"
        )
        self.request_seconds = self._histogram(
            "rm_http_request_duration_seconds",
            "From the first byte of a request to the last of its reply.",
            _SECONDS,
            "route",
        )
        self.in_flight = self._gauge("rm_http_requests_in_flight", "Requests being answered now.")
        self.body_bytes = self._histogram(
            "rm_http_request_body_bytes",
            "Size of request bodies as read.",
            [2.0**k for k in range(10, 24)],
        )
        self.aborted = self._counter(
            "rm_http_aborted", "Requests that ended without their answer.", "reason", start=_ABORTS
        )
        self.auth_failures = self._counter(
            "rm_auth_failures",
            "Requests refused for their API key.",
            "reason",
            start=("missing", "invalid", "scope"),
        )
        self.keys_file_broken = self._gauge(
            "rm_api_keys_file_broken",
            "1 while the file of API keys can't be used and the keys from before count.",
        )
        self.loop_lag = self._histogram(
            "rm_event_loop_lag_seconds",
            "How late the event loop wakes a sleeper; above 0.2 s something blocks it.",
            (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
        )
        self.ready = self._gauge("rm_ready", "1 while /health/ready answers 200.")
        self.draining = self._gauge("rm_draining", "1 from SIGTERM to the end.")

    def _queue(self) -> None:
        self.rejections = self._counter(
            "rm_admission_rejected", "Items refused at the door.", "route", "reason"
        )
        self.queue_items = self._gauge(
            "rm_queue_items", "Items admitted and not yet taken by the device."
        )
        self.queue_tokens = self._gauge("rm_queue_tokens", "Their tokens.")
        self.queue_capacity_items = self._gauge(
            "rm_queue_capacity_items", "Most items admitted and not finished."
        )
        self.waiting_requests = self._gauge(
            "rm_waiting_requests", "Requests in line for room in the queue."
        )
        self.waiting_bytes = self._gauge(
            "rm_waiting_bytes", "Bodies of requests that may wait, until they are answered."
        )
        self.queue_oldest = self._gauge(
            "rm_queue_oldest_age_seconds", "How long the first in line has waited."
        )
        self.queue_wait = self._histogram(
            "rm_queue_wait_seconds", "From admission to the device, per item.", _SECONDS, "route"
        )
        self.deadlines = self._counter(
            "rm_deadline_exceeded", "Items whose caller's deadline passed.", "stage", start=_STAGES
        )
        self.cancelled = self._counter(
            "rm_cancelled", "Items whose caller went away.", "stage", start=_STAGES
        )

    def _engine(self) -> None:
        self.pack_items = self._histogram(
            "rm_batch_size", "Sequences per forward pass.", [2.0**k for k in range(10)]
        )
        self.pack_tokens = self._histogram(
            "rm_batch_tokens", "Tokens per forward pass.", [2.0**k for k in range(5, 19)]
        )
        self.forward_seconds = self._histogram(
            "rm_batch_forward_seconds", "Time of a forward pass.", _SECONDS
        )
        self.tokenize_seconds = self._histogram(
            "rm_tokenize_seconds", "Time to tokenise a request.", _SECONDS
        )
        self.sequences = self._counter(
            "rm_sequences", "Responses that were given a reward.", "route"
        )
        self.tokens = self._counter("rm_tokens", "Tokens that were read.", "kind", start=("real",))
        self.truncated = self._counter(
            "rm_sequences_truncated",
            "Sequences cut to fit, by how far: the prompt alone, or into the response.",
            "side",
            start=("prompt", "response"),
        )
        self.warnings = self._counter(
            "rm_sequence_warnings", "What replies warn of, by text.", "warning", start=_WARNINGS
        )
        self.splits = self._counter(
            "rm_batch_splits", "Packs that were halved after a failure.", "reason", start=_SPLITS
        )
        self.failures = self._counter(
            "rm_item_failures", "Items without a reward.", "reason", start=_FAILURES
        )
        self.busy_seconds = self._counter(
            "rm_engine_busy_seconds", "Time the device spent on forward passes."
        )
        self.model_info = self._gauge(
            "rm_model_info", "The loaded models; always 1.", "model", "weights_sha256"
        )
        self.swapping = self._gauge("rm_swap_under_way", "1 while a model is being replaced.")
        self.swaps = self._counter(
            "rm_model_swaps_total",
            "Models to be replaced, by what became of it.",
            "outcome",
        )
        for outcome in get_args(SwapOutcome):
            self.swaps.labels(outcome)

    def _rewards(self) -> None:
        self.reward = self._histogram("rm_reward_raw", "Raw rewards.", _REWARDS, "model")
        self.nonfinite = self._counter("rm_reward_nonfinite", "Rewards that were NaN or infinite.")
        self.selection = self._counter(
            "rm_selection", "Whose reward was selected.", "route", "branch"
        )
        self.compare = self._counter(
            "rm_compare",
            "Who won comparisons of two; swapped orders show position bias.",
            "outcome",
            start=_OUTCOMES,
        )
        self.compare_margin = self._histogram(
            "rm_compare_margin",
            "Best minus second-best selected reward.",
            (0, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8),
        )
        self.group_size = self._histogram(
            "rm_group_size", "Responses per prompt.", [2.0**k for k in range(8)]
        )
        self.group_std = self._histogram(
            "rm_group_reward_std",
            "Spread of a group's selected rewards (TRL: reward_std).",
            (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
        )
        self.groups = self._counter("rm_groups", "Groups that were scored.")
        self.groups_zero_std = self._counter(
            "rm_groups_zero_std",
            "Groups whose rewards are equal but for rounding (TRL: frac_reward_zero_std).",
        )
        self.group_duplicates = self._counter(
            "rm_group_duplicate_responses",
            "Responses that equal an earlier one of their group; many: the policy has collapsed.",
        )

    def _counter(self, name: str, text: str, *labels: str, start: Sequence[str] = ()) -> Counter:
        """A counter; `start` are the values of its one label that stand at 0 from the start."""
        counter = Counter(name, text, labels, registry=self.registry)
        for value in start:
            counter.labels(value)
        return counter

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, edges: Sequence[float], *labels: str) -> Histogram:
        return Histogram(name, text, labels, buckets=edges, registry=self.registry)

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
                if name in ROLES:  # the others are never selected
                    self.selection.labels(route, name)

    def replace_models(
        self, before: Mapping[ModelName, ModelProfile], after: Mapping[ModelName, ModelProfile]
    ) -> None:
        """Other models serve from now on, under the same names."""
        for name, profile in before.items():
            self.model_info.remove(name, profile.digest)
        for name, profile in after.items():
            self.model_info.labels(name, profile.digest).set(1)
        if self._drift is not None:
            self._drift.replace(after)

    def rewarded(self, name: ModelName, reward: float) -> None:
        """One model gave a finite raw reward."""
        self.reward.labels(name).observe(reward)
        if self._drift is not None:
            self._drift.observe(name, reward)

    def scored(
        self, route: str, rewards: Mapping[ModelName, float], warnings: Sequence[str]
    ) -> None:
        """One text was given its rewards, computed or kept."""
        for name, reward in rewards.items():
            self.rewarded(name, reward)
        self.sequences.labels(route).inc()
        self.warned(warnings)

    def warned(self, warnings: Sequence[str]) -> None:
        """One text was read with these warnings."""
        for warning in warnings:
            self.warnings.labels(warning).inc()
        if "truncated" in warnings:
            self.truncated.labels(
                "response" if "response_truncated" in warnings else "prompt"
            ).inc()

    def watch_waiting(self, requests: Callable[[], float], num_bytes: Callable[[], float]) -> None:
        """Read the gauges of the requests that wait from the line itself at each scrape."""
        self.waiting_requests.set_function(requests)
        self.waiting_bytes.set_function(num_bytes)

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
