"""GET /admin/models, PUT /admin/models/{role}: replacing a model while the service goes on."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel

from rm_client.models_admin import ModelsStatus, SwapReport, SwapRequest
from service.http.body import read_json, validate
from service.http.openapi import COMMON_PROBLEMS, problems, request_body
from service.problems import Problem, json_reply
from service.state import AppState, get_state
from service.swap.errors import SwapRefused

router = APIRouter(prefix="/admin", tags=["operations"])

State = Annotated[AppState, Depends(get_state)]
_EXAMPLES: dict[str, dict[str, Any]] = {
    "replace": {
        "summary": "Serve another checkpoint, if most pairs stay in their order",
        "value": {"model": "safety/step-2000", "min_order_agreement": 0.8},
    },
    "dry_run": {
        "summary": "Only say how much would change",
        "value": {"model": "safety/step-2000", "dry_run": True, "shadow_items": 256},
    },
    "roll_back": {"summary": "Back to what served before", "value": {"roll_back": True}},
}
_REFUSALS = COMMON_PROBLEMS | problems(
    s404="No model of this name was loaded.",
    s409="Another swap is under way, or model_root is not set, or the two agree too little.",
    s422="The body is wrong, there is no such checkpoint, or it can't be served.",
    s503="The models don't fit into memory beside each other.",
)
_STATUS_BY_CODE = {
    "not_enough_memory": 503,
    "agreement_too_low": 409,
    "other_model_changed": 409,
    "load_failed": 500,
    "load_timeout": 503,
}


@router.get(
    "/models",
    summary="What serves, and what is being replaced",
    response_model=None,
    responses={200: {"model": ModelsStatus}},
)
async def models_status(state: State) -> Response:
    """The models, the swap that is under way, and the report of the last one."""
    return _json(state.swapper.status())


@router.put(
    "/models/{role}",
    summary="Replace a model while requests go on",
    response_model=None,
    responses={
        200: {"model": SwapReport},
        202: {"model": ModelsStatus, "description": "Begun (wait: false)."},
        **_REFUSALS,
    },
    openapi_extra={"requestBody": request_body(SwapRequest, _EXAMPLES)},
)
async def replace_model(
    role: Annotated[str, Path(description="The name that the model is loaded under.")],
    request: Request,
    state: State,
) -> Response:
    """Load a checkpoint beside the present one, compare the two, and switch between two packs.

    No request fails for it and none mixes the two: who came before is answered by the former model.
    Whatever goes wrong, that one serves on. Statistics of streams stay as they are; those that hold
    rewards of the former model say so in `warnings` until they are reset (DELETE /streams/{name}).
    """
    body = await read_json(request, state.bodies)
    asked = validate(SwapRequest, body)
    try:
        swap = state.swapper.replace_one(role, asked)
    except SwapRefused as exc:
        raise Problem(exc.status, exc.code, exc.detail) from exc
    if not asked.wait:
        return _json(state.swapper.status(), status=202)
    report = await asyncio.shield(swap)
    if report.error is not None:
        status = _STATUS_BY_CODE.get(report.error.code, 422)
        raise Problem(status, report.error.code, _sentence(report.error.detail))
    return _json(report)


def _json(value: BaseModel, *, status: int = 200) -> Response:
    reply = json_reply(value.model_dump(mode="json"))
    reply.status_code = status
    return reply


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
