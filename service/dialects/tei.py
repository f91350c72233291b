"""Text Embeddings Inference's POST /predict: a list of labels for each input.

As TEI reads it, an input is a text, a list of one text, or a list of two: a prompt and its
response. A list of lists is several inputs, anything else is one. σ is applied unless `raw_scores`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rm_core.types import RenderedText
from service.dialects.base import (
    DialectOptions,
    ForeignModel,
    ParsedBody,
    ParsedText,
    TextInput,
    TextReward,
    wrong_type,
)
from service.dialects.handler import Dialect
from service.dialects.texts import answered
from service.http.body import validate


class PredictBody(ForeignModel):
    """One input or several."""

    inputs: str | list[Any]
    raw_scores: bool = False


def read(body: Mapping[str, Any], options: DialectOptions) -> ParsedBody:
    """The inputs."""
    asked = validate(PredictBody, body)
    given = asked.inputs
    is_batch = isinstance(given, list) and (not given or isinstance(given[0], list))
    if is_batch:
        places = [_place(one, f"/inputs/{index}", options) for index, one in enumerate(given)]
    else:
        places = [_place(given, "/inputs", options)]

    def render(text_rewards: Sequence[TextReward]) -> Any:
        found = [
            [{"score": one.reward if asked.raw_scores else one.score, "label": "LABEL_0"}]
            for one in text_rewards
        ]
        return found if is_batch else found[0]

    return ParsedBody(places, render)


def _place(given: object, pointer: str, options: DialectOptions) -> ParsedText:
    if isinstance(given, str):
        return TextInput(RenderedText(given), pointer)
    parts = given if isinstance(given, list) else []
    if len(parts) not in (1, 2) or not all(isinstance(part, str) for part in parts):
        return wrong_type(pointer, "A text, or a list of a prompt and its response")
    if len(parts) == 1:
        return TextInput(RenderedText(parts[0]), f"{pointer}/0")
    fields = {"prompt": f"{pointer}/0", "response": f"{pointer}/1"}
    return answered(parts[0], parts[1], fields, rendered=options.rendered)


DIALECT = Dialect(
    name="tei",
    path="/predict",
    summary="Text Embeddings Inference: labels of texts or of prompts with responses",
    body=PredictBody,
    example={"inputs": [["Is 27 prime?", "No: 27 = 3 × 9."]], "raw_scores": True},
    read=read,
)
