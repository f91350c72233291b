"""GET /v1/models: the models by the names that other projects' clients ask for and send back."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from service.dialects.models import model_card, model_names, models_list
from service.http.openapi import problems
from service.problems import Problem, json_reply
from service.state import AppState, get_state

router = APIRouter(prefix="/v1/models", tags=["operations"])


@router.get("", summary="The models, as OpenAI lists them", response_model=None)
async def models(state: Annotated[AppState, Depends(get_state)]) -> Response:
    """The names that `model` may hold; the first means the reward that the settings choose."""
    return json_reply(models_list(state))


@router.get(
    "/{name}",
    summary="One model of the list",
    response_model=None,
    responses=problems(s404="No model has this name.", s422="A parameter is wrong."),
)
async def model(name: str, state: Annotated[AppState, Depends(get_state)]) -> Response:
    """What GET /v1/models says of one name."""
    if name not in model_names(state):
        raise Problem(404, "unknown_model", "No model has this name; GET /v1/models lists them.")
    return json_reply(model_card(state, name))
