"""What connections tell Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

CLOSED_REASONS = ("headers", "body", "idle", "discard", "writing", "capacity")


class ConnectionMetrics:
    """The instruments of connections, of all ports of a process together.

    Args:
        registry: of the app.
        unfinished_bytes: what bodies hold that are still arriving.
    """

    def __init__(self, registry: CollectorRegistry, unfinished_bytes: Callable[[], float]) -> None:
        self._num_open: list[Callable[[], int]] = []
        Gauge("rm_connections", "Open connections.", registry=registry).set_function(
            lambda: float(sum(count() for count in self._num_open))
        )
        self._capacity = Gauge(
            "rm_connection_capacity",
            "Most connections at once, beside those on which /health alone is answered.",
            registry=registry,
        )
        self.closed = Counter(
            "rm_connections_closed",
            "Connections that were closed because their peer was late, or another one's place "
            "was needed.",
            ("reason",),
            registry=registry,
        )
        for reason in CLOSED_REASONS:
            self.closed.labels(reason)
        Gauge(
            "rm_unfinished_body_bytes",
            "Bodies that are still arriving, together.",
            registry=registry,
        ).set_function(unfinished_bytes)

    def watch(self, capacity: int, num_open: Callable[[], int]) -> None:
        """Tell of one port's connections too."""
        self._num_open.append(num_open)
        self._capacity.inc(capacity)
