"""Replaces models while requests go on, one swap at a time.

The new models are loaded and tried beside those that serve, and take over between two packs: who
came before keeps the version that it came to, to its end, and then that one is let go.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import structlog

from rm_client.models_admin import (
    ModelsStatus,
    ServedModel,
    SwapAgreement,
    SwapError,
    SwapOutcome,
    SwapReport,
    SwapRequest,
    SwapStage,
    SwapUnderWay,
)
from rm_core.checkpoint.source import ModelSource
from rm_core.errors import EngineClosed, RewardError
from rm_core.types import ModelName, Scorer
from service.batching.scheduler import Scheduler
from service.observability.metrics import Metrics
from service.settings import Settings
from service.swap import background
from service.swap.errors import SwapRefused
from service.swap.places import source_below
from service.swap.recent_traffic import RecentTraffic
from service.swap.shadow import shadow_score
from service.versions.version import ModelVersion

if TYPE_CHECKING:
    from service.streams.store import StateStore

ALL_MODELS = "all"
"""In place of a model's name: everything that the settings name was loaded again."""

_log = structlog.get_logger(__name__)


class Loader(Protocol):
    """Loads models as they are loaded at the start; called in a thread of its own."""

    def load(self, sources: Mapping[ModelName, ModelSource]) -> Scorer:
        """The models, tried and ready.

        Raises:
            RewardError: they can't be used, or don't fit beside those that serve.
        """
        ...

    def release(self, scorer: Scorer) -> None:
        """Give back the memory of models that nothing uses any more."""
        ...

    def fingerprint(self, sources: Mapping[ModelName, ModelSource]) -> object:
        """Equal as long as nobody touched the checkpoints' files."""
        ...


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a swap is to do.

    Attributes:
        model: the name whose model is replaced, or `ALL_MODELS`.
        sources: of all models, that one's new.
        request: how it is to be done.
        fingerprint: of the files, before they are read.
    """

    model: ModelName
    sources: Mapping[ModelName, ModelSource]
    request: SwapRequest
    fingerprint: object = None

    @property
    def source(self) -> str:
        """What is loaded, as it is told."""
        names = self.sources if self.model == ALL_MODELS else (self.model,)
        return ", ".join(self.sources[name].told for name in names)


class ModelSwapper:
    """The version that serves, and how another takes its place; belongs to one event loop.

    Args:
        version: that serves first.
        settings: frozen settings.
        scheduler: the queue before it.
        metrics: the app's instruments.
        loader: of other models; None: there are none to be had.
    """

    def __init__(
        self,
        version: ModelVersion,
        settings: Settings,
        scheduler: Scheduler,
        metrics: Metrics,
        loader: Loader | None,
    ) -> None:
        self.version = version
        self.recent = RecentTraffic()
        self.store: StateStore | None = None
        self._settings = settings
        self._scheduler = scheduler
        self._metrics = metrics
        self._loader = loader
        self._sources = settings.sources()
        self._fingerprint = None if loader is None else loader.fingerprint(self._sources)
        self._former: dict[ModelName, ModelSource] = {}
        self._outdated: dict[str, int] = {}
        self._task: asyncio.Task[SwapReport] | None = None
        self._abandoned: asyncio.Future[Scorer] | None = None
        self._under_way: tuple[_Plan, SwapStage, float] | None = None
        self._last: SwapReport | None = None

    def status(self) -> ModelsStatus:
        """What serves, what is under way, and what became of the last swap."""
        models = {
            name: ServedModel(
                name=profile.name, digest=profile.digest, can_roll_back=name in self._former
            )
            for name, profile in self.version.profiles.items()
        }
        under_way = None
        if self._under_way is not None:
            plan, stage, began = self._under_way
            under_way = SwapUnderWay(
                model=plan.model,
                source=plan.source,
                stage=stage,
                seconds=round(time.monotonic() - began, 3),
            )
        return ModelsStatus(
            models=models,
            provenance=self.version.provenance,
            swap=under_way,
            last=self._last,
        )

    def is_outdated(self, stream: str, generation: int) -> bool:
        """Whether a stream's statistics are, in part at least, of models that were replaced."""
        return self._outdated.get(stream) == generation

    def replace_one(self, model: ModelName, request: SwapRequest) -> "asyncio.Task[SwapReport]":
        """Begin to replace one model.

        Raises:
            SwapRefused: there is no such model, another swap is under way, or what is to be loaded
                can't be named so.
        """
        if model not in self._sources:
            raise SwapRefused(
                "unknown_model",
                f"No model of this name was loaded; there are {', '.join(self._sources)}.",
                404,
            )
        return self._begin(model, {**self._sources, model: self._source(model, request)}, request)

    def reload_soon(self) -> None:
        """Load what the settings name again, if it isn't what serves; for SIGHUP."""
        sources = self._settings.sources()
        if self._loader is None:
            return
        if sources == self._sources and self._loader.fingerprint(sources) == self._fingerprint:
            _log.info("models_unchanged")
            return
        try:
            self._begin(ALL_MODELS, sources, SwapRequest(shadow_seconds=0.0))
        except SwapRefused as refused:
            _log.error("models_not_reloaded", reason=refused.detail)

    async def close(self) -> None:
        """Give up what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _source(self, model: ModelName, request: SwapRequest) -> ModelSource:
        present = self._sources[model]
        if request.roll_back == (request.model is not None):
            raise SwapRefused("invalid_request", "Send either model or roll_back.")
        if request.model is None:
            if model not in self._former:
                raise SwapRefused("nothing_to_roll_back", "It was not replaced yet.", 409)
            return self._former[model]
        described = self.version.scorer.describe()
        bases = {base for own in described.values() if (base := own.get("base")) is not None}
        found = source_below(self._settings.model_root, request.model, bases=bases)
        # What the settings say of a name beside the place holds for whatever serves under it.
        return replace(present, name=found.name, label=found.label)

    def _begin(
        self, model: ModelName, sources: Mapping[ModelName, ModelSource], request: SwapRequest
    ) -> "asyncio.Task[SwapReport]":
        if self._loader is None:
            raise SwapRefused("no_loader", "This server can't load other models.", 409)
        if self._abandoned is not None and not self._abandoned.done():
            raise SwapRefused(
                "load_hangs", "A load that took too long still runs; restart the service.", 409
            )
        if self._task is not None and not self._task.done():
            raise SwapRefused(
                "swap_under_way",
                "A model is being replaced; GET /admin/models tells when that is over.",
                409,
            )
        plan = _Plan(model, sources, request, self._loader.fingerprint(sources))
        self._under_way = (plan, "loading", time.monotonic())
        self._task = asyncio.create_task(self._swap(plan, self._loader), name="rewardd-swap")
        return self._task

    async def _swap(self, plan: _Plan, loader: Loader) -> SwapReport:
        began = time.monotonic()
        report = _Report(plan, self.version, began)
        self._metrics.swapping.set(1)
        try:
            await self._load_and_switch(plan, loader, report)
        except SwapRefused as refused:
            report.fail(refused.code, refused.detail)
        except RewardError as exc:
            # Whoever may load a checkpoint may know what is wrong with it.
            report.fail(exc.code, f"{exc}")
        except Exception as exc:
            report.fail("load_failed", f"Loading failed ({type(exc).__name__}); the log says more.")
            _log.exception("swap_failed")
        finally:
            self._under_way = None
            self._metrics.swapping.set(0)
        self._last = done = report.done()
        self._metrics.swaps.labels(done.outcome).inc()
        told = {} if done.error is None else {"code": done.error.code, "reason": done.error.detail}
        log = _log.error if done.error is not None else _log.info
        log("swap", outcome=done.outcome, model=plan.model, source=plan.source, **told)
        return done

    async def _load_and_switch(self, plan: _Plan, loader: Loader, report: "_Report") -> None:
        request = plan.request
        with self.recent.kept(request.shadow_items):
            scorer = await self._load(plan, loader)
            kept = False
            try:
                version = ModelVersion.of(scorer, tau=self._settings.tau)
                report.loaded(version)
                self._require_the_others(plan, version)
                if request.shadow_items:
                    self._under_way = (plan, "shadow_scoring", report.began)
                    report.agreement = await self._compare(version, request)
                _require_agreement(report.agreement, request.min_order_agreement)
                if request.dry_run:
                    report.outcome = "dry_run"
                    return
                kept = True
            finally:
                if not kept:
                    loader.release(scorer)
        former, self._fingerprint = self.version, plan.fingerprint
        report.streams = await self._switch(plan, version)
        report.outcome = "switched"
        self._under_way = (plan, "draining", report.began)
        with contextlib.suppress(EngineClosed):  # the device is gone: nothing is scored any more
            await self._scheduler.until_unused(former.scorer)
        await background.start(lambda: loader.release(former.scorer), "rewardd-releasing")

    async def _load(self, plan: _Plan, loader: Loader) -> Scorer:
        loading = background.start(lambda: loader.load(plan.sources), "rewardd-loading")
        done, _ = await asyncio.wait({loading}, timeout=self._settings.swap_load_timeout_seconds)
        if not done:
            self._abandoned = loading
            raise SwapRefused(
                "load_timeout",
                "Loading took longer than swap_load_timeout_seconds and was given up; raise it for "
                "large checkpoints. The thread may still run: restart the service to try again.",
            )
        return loading.result()

    def _require_the_others(self, plan: _Plan, version: ModelVersion) -> None:
        """Refuse to replace a model that nobody asked to: all are loaded from their files anew."""
        if plan.model == ALL_MODELS:
            return
        former = self.version.profiles
        changed = [
            name
            for name, profile in version.profiles.items()
            if name != plan.model and profile.digest != former[name].digest
        ]
        if changed:
            raise SwapRefused(
                "other_model_changed",
                f"The files of {', '.join(changed)} changed since they were loaded; send SIGHUP to "
                "load all models anew.",
                409,
            )

    async def _compare(self, version: ModelVersion, request: SwapRequest) -> SwapAgreement | None:
        await self.recent.filled(request.shadow_seconds)
        items = self.recent.items
        if not items:
            return None
        scoring = background.start(
            lambda: shadow_score(version, items, self._settings.max_pack_tokens),
            "rewardd-shadow",
        )
        return await scoring

    async def _switch(self, plan: _Plan, version: ModelVersion) -> list[str]:
        """Let the version serve whoever comes from now on; the streams that it finds."""
        streams = [] if self.store is None else await self.store.get_all()
        changed = version.identity != self.version.identity
        # From here to the end nothing waits: a request finds the one version or the other.
        self._metrics.replace_models(self.version.profiles, version.profiles)
        self._scheduler.replace(version.scorer)
        self.version = version
        for name, source in plan.sources.items():
            if plan.model in (name, ALL_MODELS):
                self._former[name] = self._sources.get(name, source)
        self._sources = dict(plan.sources)
        if changed:
            self._outdated = {own.name: own.generation for own in streams if own.num_samples}
        return [own.name for own in streams if self.is_outdated(own.name, own.generation)]


class _Report:
    """A swap's report while it is written."""

    def __init__(self, plan: _Plan, former: ModelVersion, began: float) -> None:
        self.began = began
        self.agreement: SwapAgreement | None = None
        self.outcome: SwapOutcome = "failed"
        self.streams: list[str] = []
        self._plan = plan
        self._before = digests(former)
        self._after: dict[str, str] | None = None
        self._load_seconds: float | None = None
        self._error: SwapError | None = None

    def loaded(self, version: ModelVersion) -> None:
        """The new models are there."""
        self._after = digests(version)
        self._load_seconds = time.monotonic() - self.began

    def fail(self, code: str, detail: str) -> None:
        """The former models serve on."""
        self.outcome = "failed"
        self._error = SwapError(code=code, detail=detail)

    def done(self) -> SwapReport:
        """The report."""
        return SwapReport(
            outcome=self.outcome,
            model=self._plan.model,
            source=self._plan.source,
            before=self._before,
            after=self._after,
            agreement=self.agreement,
            load_seconds=self._load_seconds,
            total_seconds=time.monotonic() - self.began,
            streams=self.streams,
            error=self._error,
        )


def digests(version: ModelVersion) -> dict[str, str]:
    """The sha256 of each model's weights."""
    return {name: profile.digest for name, profile in version.profiles.items()}


def _require_agreement(found: SwapAgreement | None, least: float | None) -> None:
    if least is None:
        return
    shares = [] if found is None else [own.order_agreement for own in found.models.values()]
    told = [share for share in shares if share is not None]
    if not told or min(told) < least:
        so = f"at worst {min(told):.3f} of them" if told else "there was no pair to compare"
        raise SwapRefused(
            "agreement_too_low",
            f"Fewer pairs of responses stay in order than min_order_agreement asks: {so}.",
            409,
        )
