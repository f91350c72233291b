"""KServe v2 / Open Inference Protocol: POST /v2/models/{name}/infer.

Inputs are NeMo-Aligner's: `sentences` (whole texts), or `tokens` padded to one length with their
`sequence_lengths`; or `prompts` with `responses`. Tensors travel as JSON or as bytes, each way as
the client asks; tritonclient sends neither with a Content-Type.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fastapi import Request, Response
from pydantic import Field

from rm_core.types import TokenIds
from service.dialects.base import (
    ClientTimeout,
    DialectOptions,
    ForeignModel,
    ParsedBody,
    ParsedText,
    TextInput,
    TextReward,
    bad_request,
)
from service.dialects.handler import Dialect
from service.dialects.kserve_tensors import LENGTH_HEADER, MEDIA_TYPE, read_request, write_reply
from service.dialects.models import DEFAULT_MODEL, reward_of_model
from service.dialects.texts import answered, texts_or_ids
from service.http.body import validate
from service.problems import Problem, json_reply, printable

ALIAS = "reward_model"
"""What NeMo-Aligner calls the model."""
OUTPUT = "rewards"
VERSION = "1"
_MAX_DEPTH = 8


class InferenceTensor(ForeignModel):
    """An input; its data is flat or nested, or stands after the JSON."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class OutputParameters(ForeignModel):
    """How an output is wanted."""

    binary_data: bool | None = None
    classification: int | None = None


class RequestedOutput(ForeignModel):
    """An output that is wanted; there is the one."""

    name: str
    parameters: OutputParameters = Field(default_factory=OutputParameters)


class RequestParameters(ForeignModel):
    """How all outputs are wanted."""

    binary_data_output: bool = False


class InferenceBody(ForeignModel):
    """An inference request."""

    inputs: list[InferenceTensor]
    outputs: list[RequestedOutput] = Field(default_factory=list)
    parameters: RequestParameters = Field(default_factory=RequestParameters)
    id: str | None = None

    def wants_bytes(self) -> bool:
        """Whether the rewards are to stand after the JSON.

        Raises:
            Problem: 422, an output is wanted that there isn't.
        """
        wanted = self.parameters.binary_data_output
        for index, output in enumerate(self.outputs):
            if output.name != OUTPUT or output.parameters.classification:
                raise bad_request(f"/outputs/{index}", f"The one output is {OUTPUT}, as it is.")
            if output.parameters.binary_data is not None:
                wanted = output.parameters.binary_data
        return wanted


def parse(request: Request, raw: bytes) -> Any:
    """The JSON of a body whatever its Content-Type, with the tensors that stand after it."""
    return read_request(raw, request.headers.get(LENGTH_HEADER))


def read(body: Mapping[str, Any], options: DialectOptions) -> ParsedBody:
    """The texts of the inputs."""
    reward = reward_of_model(options.name, options)
    if reward is None and options.name not in (ALIAS, DEFAULT_MODEL):
        raise Problem(404, "unknown_model", f"There is no such model; try {ALIAS}.")
    asked = validate(InferenceBody, body)
    as_bytes = asked.wants_bytes()
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

    def render(text_rewards: Sequence[TextReward]) -> Response:
        head = {"model_name": options.name, "model_version": VERSION}
        if asked.id is not None:
            head["id"] = printable(asked.id)
        rewards = [given.reward for given in text_rewards]
        output = {"name": OUTPUT, "datatype": "FP32", "shape": [len(rewards), 1]}
        if not as_bytes:
            return json_reply({**head, "outputs": [{**output, "data": rewards}]})
        content, length = write_reply({**head, "outputs": [output]}, rewards)
        return Response(content, media_type=MEDIA_TYPE, headers={LENGTH_HEADER: str(length)})

    return ParsedBody(places, render, reward)


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
    client_timeout=ClientTimeout(
        60, "tritonclient 2.73: network_timeout; kserve 0.21: RESTConfig; NeMo-Aligner waits a week"
    ),
    read=read,
    parse=parse,
)
VERSIONED = replace(DIALECT, path=f"/v2/models/{{name}}/versions/{VERSION}/infer")
