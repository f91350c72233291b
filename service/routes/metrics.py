"""GET /metrics: Prometheus exposition."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from service.observability.metrics import METRICS_MEDIA_TYPE
from service.state import AppState, get_state, reasons_not_ready

router = APIRouter(tags=["operations"])


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_model=None,
    responses={200: {"content": {"text/plain": {}}}},
)
async def metrics(state: Annotated[AppState, Depends(get_state)]) -> Response:
    """Counters, gauges and histograms; names begin with rm_."""
    state.metrics.ready.set(not reasons_not_ready(state))
    state.metrics.draining.set(state.draining)
    return Response(state.metrics.render(), headers={"Content-Type": METRICS_MEDIA_TYPE})
