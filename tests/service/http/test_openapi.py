import json
from typing import Any

import pytest
from fastapi import FastAPI, Request
from pydantic import BaseModel

from service.http.openapi import install_openapi, problems, request_body
from service.problems import PROBLEM_MEDIA_TYPE


class Leaf(BaseModel):
    text: str


class Body(BaseModel):
    leaves: list[Leaf]


def application(*, key_required: bool = False) -> FastAPI:
    app = FastAPI()
    extra = {"requestBody": request_body(Body, {"one": {"summary": "s", "value": {"leaves": []}}})}

    @app.post("/grow", openapi_extra=extra, responses=problems(s413="too large"))
    async def grow(request: Request, times: int) -> None: ...

    install_openapi(app, key_required=key_required)
    return app


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [found for value in node.values() for found in references(value)]
    if isinstance(node, list):
        return [found for value in node for found in references(value)]
    return []


def test_what_a_handler_reads_by_itself_is_described_and_every_reference_leads_somewhere() -> None:
    document = application().openapi()

    body = document["paths"]["/grow"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"]["properties"]["leaves"]["items"] == {"$ref": "#/components/schemas/Leaf"}
    assert body["examples"]["one"]["value"] == {"leaves": []}
    assert "$defs" not in json.dumps(document)
    named = {reference.rpartition("/")[2] for reference in references(document["paths"])}
    assert {"Leaf", "ProblemReply"} <= named - {"HTTPValidationError"}
    assert named - {"HTTPValidationError"} <= set(document["components"]["schemas"])


def test_errors_are_problem_documents_under_their_status() -> None:
    responses = application().openapi()["paths"]["/grow"]["post"]["responses"]

    assert responses["413"]["description"] == "too large"
    assert PROBLEM_MEDIA_TYPE in responses["413"]["content"]


@pytest.mark.parametrize("key_required", [True, False])
def test_the_document_asks_for_a_key_only_where_one_is_needed(key_required: bool) -> None:
    document = application(key_required=key_required).openapi()

    assert ("security" in document) == key_required
    assert ("securitySchemes" in document["components"]) == key_required


def test_the_document_is_made_once() -> None:
    app = application()

    assert app.openapi() is app.openapi()
