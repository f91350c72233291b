"""GET /openapi.json and /docs, behind the same key as everything else."""

from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html

from service.json_reply import json_reply

router = APIRouter(include_in_schema=False)


@router.get("/openapi.json", response_model=None)
async def openapi(request: Request) -> Response:
    """The OpenAPI document."""
    return json_reply(request.app.openapi())


@router.get("/docs", response_model=None)
async def docs(request: Request) -> Response:
    """The document as a page to try things on."""
    return get_swagger_ui_html(openapi_url="openapi.json", title=request.app.title)
