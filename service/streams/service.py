"""What the routes with durable state share: the store, twins in flight, metrics, problems."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry

from rm_core.errors import ConfigurationError, InputError
from rm_core.rewards import Statistics, from_baseline, merge
from rm_core.rewards.rule import RewardRule
from rm_core.types import ModelName, ModelProfile
from service.errors import IdempotencyConflict, StateUnavailable, TooManyStreams, UnknownStream
from service.problems import Problem, ProblemItem
from service.streams.database import STATE_FILE
from service.streams.idempotency import InFlight
from service.streams.metrics import RewardMetrics
from service.streams.notices import OncePerStream
from service.streams.store import StateStore
from service.streams.transaction import StoreLimits


@dataclass(frozen=True, slots=True)
class StreamService:
    """Durable streams as the routes use them.

    Attributes:
        store: statistics and ledger.
        metrics: the instruments of whitening, idempotency and PPO.
        in_flight: keyed requests at work.
        told_of_estimator: streams that were warned of their KL estimator.
    """

    store: StateStore
    metrics: RewardMetrics
    in_flight: InFlight = field(default_factory=InFlight)
    told_of_estimator: OncePerStream = field(default_factory=OncePerStream)

    @classmethod
    async def open(
        cls,
        state_dir: Path | None,
        registry: CollectorRegistry,
        *,
        limits: StoreLimits | None = None,
    ) -> "StreamService":
        """Open the state in `state_dir` (None: in memory) and count how that went.

        A state that was there and can't be used is a fault of the store: what needs no statistics
        is served all the same.

        Raises:
            ConfigurationError: the state file can't be made, or is nobody's of ours.
        """
        metrics = RewardMetrics(registry)
        path = None if state_dir is None else state_dir / STATE_FILE
        store = StateStore(path, limits=limits, on_fault=metrics.state_fault)
        await store.open()
        if store.fault is None:
            metrics.recovered(store.recovery)
            for stream in await store.get_all():
                metrics.stream(stream)
        return cls(store, metrics)

    async def close(self) -> None:
        """Finish what was begun and close the file."""
        await self.store.close()


def baseline_statistics(profiles: Mapping[ModelName, ModelProfile]) -> Statistics:
    """What a new stream starts from: the baselines of the models that the rule selects among.

    With two models the selected rewards are a mixture whose shares nobody knows beforehand: both
    baselines are merged with their own weights, so that the start's spread covers either model's
    and the distance between their means. A model without a baseline leaves its share unknown, and
    the other's alone would put it on a wrong scale for long: then there is none.

    Args:
        profiles: the loaded models.

    Raises:
        ConfigurationError: a checkpoint's baseline is out of range.
    """
    merged = Statistics()
    for role in RewardRule.of(profiles).roles:
        baseline = profiles[role].baseline
        if baseline is None:
            return Statistics()
        try:
            own = from_baseline(baseline.mean, baseline.std, baseline.weight)
        except InputError as exc:
            raise ConfigurationError(
                f"the {role} checkpoint's baseline can't be used: {exc}; "
                "correct or remove it in its reward_model.json"
            ) from exc
        merged = merge(merged, own)
    return merged


_ROOM_ADVICE = "; delete one with DELETE /streams/{name}?forget=true"


@contextmanager
def state_problems() -> Iterator[None]:
    """Turn the state's errors into problems."""
    try:
        yield
    except UnknownStream as exc:
        raise Problem(404, exc.code, _sentence(exc)) from exc
    except IdempotencyConflict as exc:
        raise Problem(422, exc.code, _sentence(exc)) from exc
    except StateUnavailable as exc:
        raise Problem(503, exc.code, _sentence(exc), headers={"Retry-After": "1"}) from exc
    except InputError as exc:
        pointer = f"/{exc.field}" if exc.field else ""
        detail = f"{exc}{_ROOM_ADVICE}" if isinstance(exc, TooManyStreams) else str(exc)
        raise Problem(
            422, exc.code, _sentence(detail), errors=[ProblemItem(pointer, exc.code, detail)]
        ) from exc


def _sentence(error: Exception | str) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."
