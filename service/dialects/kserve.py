"""KServe v2 / Open Inference Protocol: POST /v2/models/{name}/infer, and its health routes.

Inputs are NeMo-Aligner's: `sentences` (whole texts), or `tokens` padded to one length with their
`sequence_lengths`; or `prompts` with `responses`. Tensors travel as JSON (tritonclient:
`binary_data=False`).
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi import Response as HttpResponse

from rm_core.types import TokenIds
from service.dialects.base import (
    DialectOptions,
    ForeignModel,
    ParsedBody,
    ParsedText,
    TextInput,
    TextReward,
    bad_request,
)
from service.dialects.handler import Dialect
from service.dialects.texts import answered, texts_or_ids
from service.http.body import validate
from service.http.openapi import problems
from service.problems import Problem, json_reply, printable
from service.state import AppState, get_state, reasons_not_ready

MODELS = ("reward_model", "rewardd")
_MAX_DEPTH = 8


class InferenceTensor(ForeignModel):
    """An input; its data is flat or nested."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class InferenceBody(ForeignModel):
    """An inference request in JSON."""

    inputs: list[InferenceTensor]
    id: str | None = None


def read(body: Mapping[str, Any], options: DialectOptions) -> ParsedBody:
    """The texts of the inputs."""
    if options.name not in MODELS:
        raise Problem(404, "unknown_model", f"There is no such model; try {' or '.join(MODELS)}.")
    asked = validate(InferenceBody, body)
    tensors = {tensor.name: index for index, tensor in enumerate(asked.inputs)}
    values = [_flat(tensor, f"/inputs/{index}") for index, tensor in enumerate(asked.inputs)]

    def of(name: str) -> tuple[list[Any], str]:
        index = tensors[name]
        return values[index], f"/inputs/{index}/data"

    places: Sequence[ParsedText]
    if "sentences" in tensors:
        places, _ = texts_or_ids(*of("sentences"))
    elif {"tokens", "sequence_lengths"} <= tensors.keys():
        places = _token_rows(*of("tokens"), *of("sequence_lengths"))
    elif {"prompts", "responses"} <= tensors.keys():
        places = _pairs(*of("prompts"), *of("responses"), rendered=options.rendered)
    else:
        raise bad_request(
            "/inputs",
            "The inputs must be sentences, or tokens and sequence_lengths, or prompts and "
            "responses.",
        )

    def render(text_rewards: Sequence[TextReward]) -> dict[str, Any]:
        reply: dict[str, Any] = {"model_name": options.name, "model_version": "1"}
        if asked.id is not None:
            reply["id"] = printable(asked.id)
        rewards = [given.reward for given in text_rewards]
        shape = [len(rewards), 1]
        return reply | {
            "outputs": [{"name": "rewards", "datatype": "FP32", "shape": shape, "data": rewards}]
        }

    return ParsedBody(places, render)


def _flat(tensor: InferenceTensor, pointer: str) -> list[Any]:
    values = list(tensor.data)
    for _ in range(_MAX_DEPTH):
        if not any(isinstance(value, list) for value in values):
            break
        values = [
            inner for value in values for inner in (value if isinstance(value, list) else [value])
        ]
    expected = 1
    for size in tensor.shape:
        expected *= size
    if expected != len(values) or any(size < 0 for size in tensor.shape):
        raise bad_request(f"{pointer}/shape", "The shape does not fit the data.")
    return values


def _token_rows(
    tokens: list[Any], pointer: str, lengths: list[Any], lengths_pointer: str
) -> list[ParsedText]:
    rows = len(lengths)
    width = len(tokens) // rows if rows else 0
    if rows * width != len(tokens):
        raise bad_request(lengths_pointer, "There must be one length for each row of tokens.")
    if not all(type(value) is int for value in (*tokens, *lengths)):
        raise bad_request(pointer, "Tokens and lengths must be integers.")
    if not all(0 <= length <= width for length in lengths):
        raise bad_request(lengths_pointer, "A length is longer than its row, or negative.")
    return [
        TextInput(TokenIds(tuple(tokens[row * width : row * width + length])), f"{pointer}/{row}")
        for row, length in enumerate(lengths)
    ]


def _pairs(
    prompts: list[Any],
    pointer: str,
    responses: list[Any],
    responses_pointer: str,
    *,
    rendered: bool,
) -> list[ParsedText]:
    if len(prompts) != len(responses):
        raise bad_request(responses_pointer, "There must be as many responses as prompts.")
    if not all(isinstance(text, str) for text in (*prompts, *responses)):
        raise bad_request(pointer, "Prompts and responses must be texts.")
    return [
        answered(
            prompt,
            response,
            {"prompt": f"{pointer}/{index}", "response": f"{responses_pointer}/{index}"},
            rendered=rendered,
        )
        for index, (prompt, response) in enumerate(zip(prompts, responses, strict=True))
    ]


DIALECT = Dialect(
    name="kserve",
    path="/v2/models/{name}/infer",
    summary="KServe v2 (NeMo-Aligner): rewards as a tensor",
    body=InferenceBody,
    example={
        "inputs": [
            {
                "name": "sentences",
                "shape": [1, 1],
                "datatype": "BYTES",
                "data": ["[INST] Is 27 prime? [/INST] No: 27 = 3 × 9.</s>"],
            }
        ]
    },
    read=read,
)

router = APIRouter(prefix="/v2", tags=["dialects"])


@router.get("/health/live", summary="KServe v2: is the process alive?", response_model=None)
async def live() -> HttpResponse:
    """200 as long as the event loop turns."""
    return json_reply({"live": True})


@router.get("/health/ready", summary="KServe v2: should work be sent here?", response_model=None)
async def ready(state: Annotated[AppState, Depends(get_state)]) -> HttpResponse:
    """200 while requests are welcome; 503 otherwise."""
    return _readiness(state, {"ready": True})


@router.get(
    "/models/{name}/ready",
    summary="KServe v2: is the model ready?",
    response_model=None,
    responses=problems(
        s404="The name is none of ours.",
        s422="A parameter is wrong.",
        s503="Send work elsewhere.",
    ),
)
async def model_ready(name: str, state: Annotated[AppState, Depends(get_state)]) -> HttpResponse:
    """200 while the model can answer; 503 otherwise, 404 for a name that isn't ours."""
    if name not in MODELS:
        raise Problem(404, "unknown_model", f"There is no such model; try {' or '.join(MODELS)}.")
    return _readiness(state, {"name": name, "ready": True})


def _readiness(state: AppState, reply: dict[str, Any]) -> HttpResponse:
    reasons = reasons_not_ready(state)
    if reasons:
        raise Problem(503, "not_ready", "; ".join(reasons).capitalize() + ".")
    return json_reply(reply)
