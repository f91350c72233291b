"""Whether the rewards that leave still lie where the checkpoint's reference rewards lay.

For each model a window of its latest rewards is counted into the bins between the reference
quantiles. A reward costs one bisection among some nine edges and two counters; nothing is sorted,
and the figures themselves are worked out when Prometheus asks.

Population stability index: PSI = Σ (live − expected) · ln(live / expected) over the bins' shares.
Without any drift it is about (B − 1)(1/N + 1/M) on average, with B bins, N rewards in the window
and M references; `rm_reward_psi_expected` says so, and the alert compares with it.

In reinforcement learning rewards ought to rise, so a high PSI alone is no fault; see
docs/guides/monitoring.md.
"""

import itertools
import math
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Gauge

from rm_core.types import ModelName, ModelProfile, ReferenceQuantiles

WINDOW_ITEMS = 4096
"""How many of the latest rewards are looked at."""

_PRIOR_ITEMS = 1.0


class DriftWindow:
    """The latest rewards of one model, by their place among the reference quantiles.

    Args:
        quantiles: of calibrated rewards on reference responses.
        temperature: calibrated reward = raw / temperature + bias.
        bias: see temperature.
        window_items: how many rewards to remember.
    """

    def __init__(
        self,
        quantiles: ReferenceQuantiles,
        *,
        temperature: float = 1.0,
        bias: float = 0.0,
        window_items: int = WINDOW_ITEMS,
    ) -> None:
        # Of equal quantiles the last one stays: the share that lies up to that value.
        share_up_to = dict(zip(quantiles.values, quantiles.probabilities, strict=True))
        # Edges on the raw scale, where rewards arrive: nothing is calibrated twice.
        self._edges = [temperature * (value - bias) for value in share_up_to]
        bounds = [0.0, *share_up_to.values(), 1.0]
        self._expected = [high - low for low, high in itertools.pairwise(bounds)]
        self._counts = [0] * len(self._expected)
        self._window: deque[int] = deque(maxlen=window_items)
        self._references = quantiles.responses

    def observe(self, reward: float) -> None:
        """Count one raw reward, finite; the oldest leaves a full window."""
        if len(self._window) == self._window.maxlen:
            self._counts[self._window[0]] -= 1
        place = bisect_left(self._edges, reward)  # edges[place − 1] < reward ≤ edges[place]
        self._window.append(place)
        self._counts[place] += 1

    @property
    def items(self) -> int:
        """Rewards in the window."""
        return len(self._window)

    @property
    def psi(self) -> float:
        """The population stability index; 0 for an empty window.

        One imagined reward, spread as the references are, keeps an empty bin's logarithm finite.
        """
        total = self.items + _PRIOR_ITEMS
        live = [
            (count + _PRIOR_ITEMS * expected) / total
            for count, expected in zip(self._counts, self._expected, strict=True)
        ]
        return sum(
            (now - then) * math.log(now / then)
            for now, then in zip(live, self._expected, strict=True)
        )

    @property
    def psi_expected(self) -> float:
        """PSI's mean if nothing has drifted; of an empty window as if it held one reward."""
        bins = len(self._expected)
        return (bins - 1) * (1 / max(self.items, 1) + 1 / max(self._references, 1))

    @property
    def below(self) -> float:
        """Share of the window up to the lowest reference quantile; 0 for an empty window."""
        return self._counts[0] / max(self.items, 1)

    @property
    def above(self) -> float:
        """Share of the window above the highest reference quantile; 0 for an empty window."""
        return self._counts[-1] / max(self.items, 1)


class RewardDrift:
    """The windows of the loaded models and their gauges.

    A model whose checkpoint has no reference quantiles has no series, so that no alert on it fires.

    Args:
        registry: the app's own.
        profiles: the loaded models.
    """

    def __init__(
        self, registry: CollectorRegistry, profiles: Mapping[ModelName, ModelProfile]
    ) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, ("model", *labels), registry=registry)

        self._items = gauge("rm_drift_window_items", "Latest rewards that drift is told from.")
        self._psi = gauge(
            "rm_reward_psi", "Population stability index of rewards against the references'."
        )
        self._psi_expected = gauge(
            "rm_reward_psi_expected", "What it is on average if nothing has drifted."
        )
        self._outside = gauge(
            "rm_reward_outside_reference_ratio",
            "Share of rewards below the lowest or above the highest reference quantile.",
            "side",
        )
        self._quantile = gauge(
            "rm_reward_reference_quantile",
            "Calibrated rewards of the checkpoint's reference responses.",
            "quantile",
        )
        self._windows = self._watched(profiles)

    def replace(self, profiles: Mapping[ModelName, ModelProfile]) -> None:
        """Begin anew with other models, by their own reference quantiles."""
        for gauge in (
            self._items,
            self._psi,
            self._psi_expected,
            self._outside,
            self._quantile,
        ):
            gauge.clear()
        self._windows = self._watched(profiles)

    def observe(self, name: ModelName, reward: float) -> None:
        """Count one raw reward, finite."""
        window = self._windows.get(name)
        if window is not None:
            window.observe(reward)

    def _watched(self, profiles: Mapping[ModelName, ModelProfile]) -> dict[ModelName, DriftWindow]:
        return {
            name: self._watch(name, profile, profile.reference_quantiles)
            for name, profile in profiles.items()
            if profile.reference_quantiles is not None
        }

    def _watch(
        self, name: ModelName, profile: ModelProfile, quantiles: ReferenceQuantiles
    ) -> DriftWindow:
        window = DriftWindow(quantiles, temperature=profile.temperature, bias=profile.bias)
        self._items.labels(name).set_function(lambda: window.items)
        self._psi.labels(name).set_function(lambda: window.psi)
        self._psi_expected.labels(name).set_function(lambda: window.psi_expected)
        self._outside.labels(name, "below").set_function(lambda: window.below)
        self._outside.labels(name, "above").set_function(lambda: window.above)
        for probability, value in _named(quantiles.probabilities, quantiles.values):
            self._quantile.labels(name, probability).set(value)
        return window


def _named(probabilities: Sequence[float], values: Sequence[float]) -> list[tuple[str, float]]:
    return [(f"{p:g}", value) for p, value in zip(probabilities, values, strict=True)]
