"""GET /health, /health/live, /ready and /state; the only routes that never ask for a key."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from service.http.openapi import problems
from service.problems import Problem, json_reply
from service.state import AppState, get_state, reason_dead, reasons_not_ready

router = APIRouter(prefix="/health", tags=["operations"])


@router.get(
    "/live",
    summary="Is the process alive?",
    response_model=None,
    responses=problems(s503="The engine is dead or hangs; `detail` says what. Restart it."),
)
async def live(state: Annotated[AppState, Depends(get_state)]) -> Response:
    """200 as long as the event loop turns and the engine's threads live; else restart it."""
    if (dead := reason_dead(state)) is not None:
        raise Problem(503, "not_alive", dead.capitalize() + ".")
    return json_reply({"status": "alive"})


@router.get(
    "/ready",
    summary="Should work be sent here?",
    response_model=None,
    responses=problems(s503="Send work elsewhere; `detail` says why."),
)
async def ready(state: Annotated[AppState, Depends(get_state)]) -> Response:
    """200 while requests are welcome and the models can answer."""
    reasons = reasons_not_ready(state)
    if reasons:
        raise Problem(503, "not_ready", "; ".join(reasons).capitalize() + ".")
    return json_reply({"status": "ready"})


@router.get(
    "",
    summary="Should work be sent here? As vLLM, SGLang, TEI and Infinity ask it",
    response_model=None,
    responses=problems(s503="Send work elsewhere; `detail` says why."),
)
async def health(state: Annotated[AppState, Depends(get_state)]) -> Response:
    """What GET /health/ready says, where other servers' clients look for it."""
    return await ready(state)


@router.get(
    "/state",
    summary="Can the routes answer that count rewards?",
    response_model=None,
    responses=problems(s503="They can't; `detail` says why. The others answer all the same."),
)
async def state_health(state: Annotated[AppState, Depends(get_state)]) -> Response:
    """200 while streams can be read and written: the readiness of what needs statistics.

    That is /ppo_reward, /streams, and the dialects' `reward=whitened`. GET /health/ready speaks of
    what needs none.
    """
    await state.streams.store.try_again()
    fault = state.streams.store.fault
    if fault is not None:
        raise Problem(503, f"state_{fault.kind}", f"{fault.error()}.".capitalize())
    return json_reply({"status": "usable"})
