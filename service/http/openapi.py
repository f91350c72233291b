"""The OpenAPI document: what handlers that read their own body can't tell FastAPI."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, TypeAdapter

from rm_client.models_problem import ProblemReply
from service.http.deadline import MAX_TIMEOUT_MS, TIMEOUT_HEADER
from service.problems import PROBLEM_MEDIA_TYPE

REFERENCE = "#/components/schemas/{model}"
"""Where a model's schema stands in the document."""

# A reference by hand: FastAPI would validate nothing by the model, document it as application/json,
# and build it anew for each status of each route, which is most of what making the app takes.
_PROBLEM: dict[str, Any] = {
    "content": {
        PROBLEM_MEDIA_TYPE: {"schema": {"$ref": REFERENCE.format(model=ProblemReply.__name__)}}
    }
}

TIMEOUT_PARAMETER: dict[str, Any] = {
    "name": TIMEOUT_HEADER.title(),
    "in": "header",
    "required": False,
    "description": "Milliseconds after which the answer is useless; then 504, and work that was "
    "not begun never is.",
    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_TIMEOUT_MS},
}

_KEY_SCHEMES: dict[str, Any] = {
    "key": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "address": {
        "type": "http",
        "scheme": "basic",
        "description": "Any user name, the key as password: http://any:KEY@host:8000.",
    },
}


def problems(**descriptions: str) -> dict[int | str, dict[str, Any]]:
    """Documentation of error replies, by status ("s422='no item succeeded'")."""
    return {
        int(status.removeprefix("s")): {**_PROBLEM, "description": text}
        for status, text in descriptions.items()
    }


COMMON_PROBLEMS = problems(
    s400="The body is not strict JSON.",
    s408="The body took too long to arrive.",
    s413="The body, the number of items or of tokens is too large.",
    s415="The body is not JSON, or compressed.",
    s422="The envelope is wrong, or no item succeeded.",
    s429="The queue is full (if so configured); see Retry-After.",
    s503="The queue is full or the engine is gone; see Retry-After.",
    s504="The time in X-Request-Timeout-Ms passed.",
)
"""What every route that scores may answer."""


SCOPE_PROBLEM = problems(
    s401="An API key is needed.",
    s403="The API key doesn't carry the scope that this route asks for.",
)
"""What every route may answer that asks for a key."""


def request_body(
    model: type[BaseModel],
    examples: dict[str, dict[str, Any]],
    *,
    more: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Documentation of a JSON body.

    Args:
        model: of the body.
        examples: by name, each with "summary" and "value".
        more: further media types' documentation.
    """
    content = {"application/json": {"schema": body_schema(model), "examples": examples}}
    return {"required": True, "content": content | (more or {})}


@cache
def _schema(form: Any) -> dict[str, Any]:
    return TypeAdapter(form).json_schema(ref_template=REFERENCE)


def body_schema(form: Any) -> dict[str, Any]:
    """The JSON schema of a model, or of a union of models: a copy that its caller may change."""
    return dict(_schema(form))


def install_openapi(app: FastAPI, *, key_required: bool) -> None:
    """Complete `app`'s document: definitions of bodies, API keys.

    Args:
        app: the app, all routes mounted.
        key_required: whether callers need an API key.
    """
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            components = document.setdefault("components", {})
            schemas = components.setdefault("schemas", {})
            problem = ProblemReply.model_json_schema(ref_template=REFERENCE, mode="serialization")
            # Dialects' clients find members of their own in it (RFC 9457, section 3.2).
            problem["additionalProperties"] = True
            _take_definitions(schemas, problem)
            schemas.setdefault(ProblemReply.__name__, problem)
            for schema in _body_schemas(document):
                _take_definitions(schemas, schema)
            # FastAPI's own idea of a 422, which this service never sends.
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            if key_required:
                components["securitySchemes"] = _KEY_SCHEMES
                document["security"] = [{name: []} for name in _KEY_SCHEMES]
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _take_definitions(schemas: dict[str, Any], schema: dict[str, Any]) -> None:
    for name, definition in schema.pop("$defs", {}).items():
        schemas.setdefault(name, definition)


def _body_schemas(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        for operation in path.values():
            body = operation.get("requestBody", {}) if isinstance(operation, dict) else {}
            for content in body.get("content", {}).values():
                yield content.get("schema", {})
