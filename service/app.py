"""The application: parts wired together, routes mounted, nothing global and nothing loaded."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping

from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute

from rm_core.types import Scorer
from service.access.api_keys import ApiKeys
from service.access.rotation import Rotation
from service.access.scopes import RouteScope
from service.batching.limits import SchedulerLimits
from service.batching.scheduler import Scheduler
from service.dialects import registry
from service.http.auth import RequireKey, require_scope
from service.http.middleware import RequestContext
from service.http.openapi import SCOPE_PROBLEM, install_openapi
from service.http.provenance import Provenance, read_secret
from service.observability.cache_metrics import CacheCollector
from service.observability.metrics import Metrics
from service.ppo.handler import PPO_ROUTE
from service.problems import install_handlers
from service.routes import (
    admin,
    compare,
    documentation,
    health,
    info,
    metrics,
    models,
    ppo,
    score,
    streams,
)
from service.settings import Settings
from service.state import AppState
from service.streams.service import StreamService
from service.swap.swapper import Loader, ModelSwapper
from service.versions.version import ModelVersion
from service.watchdog.engine_watch import EngineWatch

_LAG_PERIOD_SECONDS = 0.05
_DEVICE_LEAVE_SECONDS = 5.0
_SCORING_ROUTES = (score.ROUTE, compare.ROUTE, PPO_ROUTE)

_ROUTERS: Mapping[RouteScope, tuple[APIRouter, ...]] = {
    "open": (health.router,),
    "score": (
        score.router,
        compare.router,
        ppo.router,
        streams.router,
        info.router,
        models.router,
        documentation.router,
    ),
    "admin": (streams.changes, admin.router),
    "metrics": (metrics.router,),
}
"""Every route by the scope that it asks of a key, beside the dialects': they are `score`."""

_DESCRIPTION = """\
Rewards for RLHF from a safety and a helpfulness reward model.

Errors are RFC 9457 problem documents that point at item and field and never repeat a text.
"""


def create_app(
    settings: Settings,
    scorer: Scorer,
    *,
    clock: Callable[[], float] = time.monotonic,
    watch: EngineWatch | None = None,
    loader: Loader | None = None,
) -> FastAPI:
    """The service around a loaded scorer.

    Args:
        settings: frozen settings.
        scorer: the loaded models; the caller closes them.
        clock: monotonic seconds, on which deadlines and waits are measured.
        watch: of the engine's calls; by default one that ends no process.
        loader: of models that replace these; None: nothing replaces them.

    Raises:
        ConfigurationError: no model is loaded, a dialect is to return the reward of one that is
            not, or a file of keys or the secret can't be read.
    """
    instruments = Metrics()
    watch = engine_watch(settings) if watch is None else watch
    version = ModelVersion.of(scorer, tau=settings.tau)
    scheduler = Scheduler(scorer, scheduler_limits(settings), instruments, clock, watch)
    state = AppState(
        settings=settings,
        swapper=ModelSwapper(version, settings, scheduler, instruments, loader),
        scheduler=scheduler,
        watch=watch,
        metrics=instruments,
        clock=clock,
        keys=ApiKeys.of(settings),
    )
    registry.require_reward(settings, version.rule.names)
    routes = (*_SCORING_ROUTES, *registry.paths(settings))
    instruments.registry.register(
        CacheCollector(lambda: state.version.scorer.cache_stats())  # noqa: PLW0108 (is replaced)
    )
    instruments.prepare(routes, scorer.profiles, settings.max_queue_items)
    secret_file = settings.hmac_secret_file
    secret = None if secret_file is None else read_secret(secret_file)

    # FastAPI's own documentation routes would not ask for a key; see routes.documentation.
    app = FastAPI(
        title="rewardd",
        description=_DESCRIPTION,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.rewardd = state
    for scope, routers in _ROUTERS.items():
        if scope == "metrics" and settings.metrics_port is not None:
            continue  # see create_metrics_app
        for router in routers:
            _mount(app, scope, router)
    _mount(app, "score", registry.dialect_router(settings))
    install_handlers(app, registry.refusal_members)
    install_openapi(app, key_required=state.keys.are_required)
    app.add_middleware(
        RequireKey,
        state=state,
        open_operations=_operations(_ROUTERS["open"]),
        members=registry.refusal_members,
    )
    app.add_middleware(RequestContext, state=state)
    # The outermost: it signs the request's id and what the last safety net says.
    app.add_middleware(Provenance, current=lambda: state.version.provenance, secret=secret)
    return app


def create_metrics_app(state: AppState) -> FastAPI:
    """The app of `metrics_port`: /metrics, to the keys that the service accepts for it.

    Args:
        state: of the service.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.rewardd = state
    for router in _ROUTERS["metrics"]:
        _mount(app, "metrics", router)
    install_handlers(app)
    app.add_middleware(RequireKey, state=state)
    app.add_middleware(RequestContext, state=state)
    return app


def _mount(app: FastAPI, scope: RouteScope, router: APIRouter) -> None:
    """Serve a router's routes to the keys that carry the scope."""
    app.include_router(
        router,
        dependencies=[Depends(require_scope(scope))],
        responses={} if scope == "open" else SCOPE_PROBLEM,
    )


def _operations(routers: Iterable[APIRouter]) -> set[tuple[str, str]]:
    """Method and path of each of their routes."""
    return {
        (method, route.path)
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }


def scheduler_limits(settings: Settings) -> SchedulerLimits:
    """The scheduler's part of the settings."""
    return SchedulerLimits(
        max_pack_tokens=settings.max_pack_tokens,
        max_pack_items=settings.max_pack_items,
        max_wait_seconds=settings.max_wait_ms / 1000.0,
        max_queue_items=settings.max_queue_items,
        max_queue_tokens=settings.max_queue_tokens,
        max_request_tokens=settings.max_request_tokens,
        max_reply_rewards=settings.max_reply_rewards,
        max_waiting_bytes=settings.max_waiting_bytes,
        bulk_every_packs=settings.bulk_every_packs,
        tokenizer_threads=settings.tokenizer_threads,
    )


def engine_watch(settings: Settings) -> EngineWatch:
    """What watches the engine, by the settings."""
    return EngineWatch(limits=settings.watch_limits(compiled=settings.compile_layers))


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state: AppState = app.state.rewardd
    state.streams = await StreamService.open(state.settings.state_dir, state.metrics.registry)
    state.scheduler.start()
    lag = asyncio.create_task(_measure_lag(state), name="rewardd-loop-lag")
    watchdog = state.watch.watchdog
    watchdog.attend(state.scheduler, asyncio.get_running_loop(), lambda: state.num_unanswered)
    rotation = Rotation(state.keys, state.metrics)
    state.swapper.store = state.streams.store
    state.on_hangup += [rotation.read_now, state.swapper.reload_soon]
    try:
        async with rotation.going_on():
            yield
    finally:
        watchdog.leave()
        lag.cancel()
        await state.swapper.close()
        await state.scheduler.close(0.0 if state.device_abandoned else _DEVICE_LEAVE_SECONDS)
        await state.streams.close()


async def _measure_lag(state: AppState) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _LAG_PERIOD_SECONDS
        with state.watch.event_loop():
            await asyncio.sleep(_LAG_PERIOD_SECONDS)
        state.metrics.loop_lag.observe(max(0.0, loop.time() - due))
