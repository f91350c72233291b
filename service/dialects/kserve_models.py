"""KServe v2: the server, its models and their health, as tritonclient and PyTriton ask for them."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from rm_core import __version__
from service.dialects.kserve import ALIAS, OUTPUT, VERSION
from service.dialects.models import model_names
from service.http.openapi import problems
from service.problems import Problem, json_reply
from service.state import AppState, get_state, reason_dead, reasons_not_ready

router = APIRouter(prefix="/v2", tags=["dialects"])

# name, datatype, and one row's shape; which belong together is in kserve.py.
_INPUTS = (
    ("sentences", "BYTES", 1),
    ("tokens", "INT64", -1),
    ("sequence_lengths", "INT64", 1),
    ("prompts", "BYTES", 1),
    ("responses", "BYTES", 1),
)
_TRITON_TYPES = {"BYTES": "TYPE_STRING", "INT64": "TYPE_INT64", "FP32": "TYPE_FP32"}
_MODEL_PROBLEMS = problems(s404="The name is none of ours.", s422="A parameter is wrong.")
State = Annotated[AppState, Depends(get_state)]


@router.get("", summary="KServe v2: the server", response_model=None)
async def server() -> Response:
    """Name, version and extensions."""
    extensions = ["binary_tensor_data", "model_configuration"]
    return json_reply({"name": "rewardd", "version": __version__, "extensions": extensions})


@router.get(
    "/health/live",
    summary="KServe v2: is the process alive?",
    response_model=None,
    responses=problems(s503="The engine is dead or hangs: restart the process."),
)
async def live(state: State) -> Response:
    """200 as long as the event loop turns and the engine's threads live."""
    if (dead := reason_dead(state)) is not None:
        raise Problem(503, "not_alive", dead.capitalize() + ".")
    return json_reply({"live": True})


@router.get(
    "/health/ready",
    summary="KServe v2: should work be sent here?",
    response_model=None,
    responses=problems(s503="Send work elsewhere."),
)
async def ready(state: State) -> Response:
    """200 while requests are welcome; 503 otherwise."""
    return _readiness(state, {"ready": True})


@router.get(
    "/models/{name}/ready",
    summary="KServe v2: is the model ready?",
    response_model=None,
    responses={**_MODEL_PROBLEMS, **problems(s503="Send work elsewhere.")},
)
@router.get(
    f"/models/{{name}}/versions/{VERSION}/ready",
    summary="KServe v2: is this version of the model ready?",
    response_model=None,
    responses={**_MODEL_PROBLEMS, **problems(s503="Send work elsewhere.")},
)
async def model_ready(name: str, state: State) -> Response:
    """200 while the model can answer; 503 otherwise, 404 for a name that isn't ours."""
    _require_model(name, state)
    return _readiness(state, {"name": name, "ready": True})


@router.get(
    "/models/{name}",
    summary="KServe v2: the model's tensors",
    response_model=None,
    responses=_MODEL_PROBLEMS,
)
@router.get(
    f"/models/{{name}}/versions/{VERSION}",
    summary="KServe v2: this version's tensors",
    response_model=None,
    responses=_MODEL_PROBLEMS,
)
async def metadata(name: str, state: State) -> Response:
    """Names, datatypes and shapes of what goes in and comes out."""
    _require_model(name, state)
    inputs = [
        {"name": tensor, "datatype": datatype, "shape": [-1, width]}
        for tensor, datatype, width in _INPUTS
    ]
    outputs = [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, 1]}]
    return json_reply(
        {
            "name": name,
            "versions": [VERSION],
            "platform": "rewardd",
            "inputs": inputs,
            "outputs": outputs,
        }
    )


@router.get(
    "/models/{name}/config",
    summary="Triton: the model's configuration",
    response_model=None,
    responses=_MODEL_PROBLEMS,
)
@router.get(
    f"/models/{{name}}/versions/{VERSION}/config",
    summary="Triton: this version's configuration",
    response_model=None,
    responses=_MODEL_PROBLEMS,
)
async def configuration(name: str, state: State) -> Response:
    """What PyTriton's clients (NeMo-Aligner's) read before they send anything."""
    _require_model(name, state)
    tensors = [
        {
            "name": tensor,
            "data_type": _TRITON_TYPES[datatype],
            "format": "FORMAT_NONE",
            "dims": [width],
            "optional": True,
        }
        for tensor, datatype, width in _INPUTS
    ]
    return json_reply(
        {
            "name": name,
            "platform": "",
            "backend": "rewardd",
            "version_policy": {"latest": {"num_versions": 1}},
            "max_batch_size": state.settings.max_items,
            "input": tensors,
            "output": [{"name": OUTPUT, "data_type": _TRITON_TYPES["FP32"], "dims": [1]}],
            "model_transaction_policy": {"decoupled": False},
        }
    )


def _require_model(name: str, state: AppState) -> None:
    known = (ALIAS, *model_names(state))
    if name not in known:
        raise Problem(404, "unknown_model", f"There is no such model; try {', '.join(known)}.")


def _readiness(state: AppState, reply: dict[str, Any]) -> Response:
    reasons = reasons_not_ready(state)
    if reasons:
        raise Problem(503, "not_ready", "; ".join(reasons).capitalize() + ".")
    return json_reply(reply)
