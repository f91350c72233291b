"""The application: parts wired together, routes mounted, nothing global and nothing loaded."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

from fastapi import APIRouter, Depends, FastAPI

from rm_core.rewards.rule import RewardRule
from rm_core.types import Scorer
from service.batching.limits import SchedulerLimits
from service.batching.scheduler import Scheduler
from service.dialects import registry
from service.http.auth import ApiKeys, api_key_dependency
from service.http.middleware import RequestContext
from service.http.openapi import install_openapi
from service.http.provenance import Provenance, read_secret
from service.observability.cache_metrics import CacheCollector
from service.observability.metrics import Metrics
from service.ppo.handler import PPO_ROUTE
from service.problems import install_handlers
from service.routes import (
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

_LAG_PERIOD_SECONDS = 0.25
_SCORING_ROUTES = (score.ROUTE, compare.ROUTE, PPO_ROUTE)
_GUARDED = (score, compare, ppo, streams, info, models, metrics, documentation)

_DESCRIPTION = """\
Rewards for RLHF from a safety and a helpfulness reward model.

Errors are RFC 9457 problem documents that point at item and field and never repeat a text.
"""


def create_app(
    settings: Settings, scorer: Scorer, *, clock: Callable[[], float] = time.monotonic
) -> FastAPI:
    """The service around a loaded scorer.

    Args:
        settings: frozen settings.
        scorer: the loaded models; the caller closes them.
        clock: monotonic seconds, on which deadlines and waits are measured.

    Raises:
        ConfigurationError: no model is loaded, a dialect is to return the reward of one that is
            not, or a file of keys or the secret can't be read.
    """
    instruments = Metrics()
    keys = ApiKeys(settings.read_api_keys())
    per_key = settings.cache_per_key
    state = AppState(
        settings=settings,
        scorer=scorer,
        scheduler=Scheduler(scorer, scheduler_limits(settings), instruments, clock),
        metrics=instruments,
        rule=RewardRule.of(scorer.profiles, tau=settings.tau),
        clock=clock,
        caches_per_key=keys.are_several if per_key is None else per_key,
    )
    registry.require_reward(settings, state.rule.names)
    routes = (*_SCORING_ROUTES, *registry.paths(settings))
    instruments.registry.register(CacheCollector(scorer.cache_stats))
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
    app.include_router(health.router)
    asks_for_key = api_key_dependency(keys, instruments, keep_apart=state.caches_per_key)
    guarded = APIRouter(dependencies=[Depends(asks_for_key)])
    for module in _GUARDED:
        guarded.include_router(module.router)
    guarded.include_router(registry.dialect_router(settings))
    app.include_router(guarded)
    install_handlers(app, registry.refusal_members)
    install_openapi(app, key_required=keys.are_required)
    app.add_middleware(RequestContext, state=state)
    # The outermost: it signs the request's id and what the last safety net says.
    app.add_middleware(Provenance, profiles=scorer.profiles, secret=secret)
    return app


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


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state: AppState = app.state.rewardd
    state.streams = await StreamService.open(
        state.settings.state_dir, state.metrics.registry, state.scorer
    )
    state.scheduler.start()
    lag = asyncio.create_task(_measure_lag(state.metrics), name="rewardd-loop-lag")
    try:
        yield
    finally:
        lag.cancel()
        await state.scheduler.close()
        await state.streams.close()


async def _measure_lag(instruments: Metrics) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _LAG_PERIOD_SECONDS
        await asyncio.sleep(_LAG_PERIOD_SECONDS)
        instruments.loop_lag.observe(max(0.0, loop.time() - due))
