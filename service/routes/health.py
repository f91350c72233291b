"""GET /health/live and /health/ready; the only routes that never ask for a key."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from service.http.openapi import problems
from service.json_reply import json_reply
from service.problems import Problem
from service.state import AppState, get_state

router = APIRouter(prefix="/health", tags=["operations"])


def reasons_not_ready(state: AppState) -> list[str]:
    """Why new work should go elsewhere; empty while all is well."""
    reasons = []
    if state.draining:
        reasons.append("the service is stopping")
    if not state.scheduler.is_alive:
        reasons.append("the device thread has ended; restart the service")
    if state.scheduler.forward_seconds > state.settings.forward_timeout_seconds:
        reasons.append("the forward pass hangs; restart the service")
    return reasons


@router.get("/live", summary="Is the process alive?", response_model=None)
async def live() -> Response:
    """200 as long as the event loop turns; restart the process if it isn't."""
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
