"""GET /v1/info: what is loaded, how it reads and runs, and what the service allows."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from rm_core import __version__
from service.dialects import registry
from service.problems import json_reply
from service.scoring.model_info import caches_json, models_json, selection_json
from service.state import AppState, get_state

router = APIRouter(prefix="/v1", tags=["operations"])

_SHOWN = (
    "max_body_bytes",
    "max_items",
    "max_request_tokens",
    "max_reply_rewards",
    "max_pack_tokens",
    "max_pack_items",
    "max_queue_items",
    "max_queue_tokens",
    "max_waiting_bytes",
    "max_queue_wait_seconds",
    "max_bulk_queue_wait_seconds",
    "max_wait_ms",
    "overload_status",
)


@router.get("/info", summary="Models, contract, limits", response_model=None)
async def info(state: Annotated[AppState, Depends(get_state)]) -> Response:
    """Which weights answer, how they read a text, which path the engine takes, and the limits."""
    version = state.version
    return json_reply(
        {
            "service": {"name": "rewardd", "version": __version__},
            "models": models_json(version.profiles),
            "engine": version.scorer.describe(),
            "selection": selection_json(version.rule, version.profiles),
            "caches": caches_json(version.scorer.cache_stats(), per_key=state.caches_per_key),
            "dialects": registry.describe(state.settings),
            "limits": {name: getattr(state.settings, name) for name in _SHOWN},
        }
    )
