"""GET /openapi.json and /docs, behind the same key as everything else, and without another host."""

from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.staticfiles import StaticFiles

from service.problems import json_reply

router = APIRouter(include_in_schema=False)

_SWAGGER_UI = StaticFiles(packages=[("fastapi_offline", "static")])
_ASSETS = "docs/assets/"  # relative, as the document's URL is: a proxy may add a prefix

# What the page loads is ours, also should a newer Swagger UI think otherwise. FastAPI starts it
# from a script inside the page, and its icons are data URLs.
_CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:"
)


@router.get("/openapi.json", response_model=None)
async def openapi(request: Request) -> Response:
    """The OpenAPI document."""
    return json_reply(request.app.openapi())


@router.get("/docs", response_model=None)
async def docs(request: Request) -> Response:
    """The document as a page to try things on; it works where there is no internet."""
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title=request.app.title,
        swagger_js_url=_ASSETS + "swagger-ui-bundle.js",
        swagger_css_url=_ASSETS + "swagger-ui.css",
        swagger_favicon_url=_ASSETS + "favicon.png",
        swagger_ui_parameters={"validatorUrl": None},  # else it is validator.swagger.io
    )
    page.headers["Content-Security-Policy"] = _CONTENT_SECURITY_POLICY
    return page


@router.get("/docs/assets/{name}", response_model=None)
async def asset(name: str, request: Request) -> Response:
    """A file of Swagger UI; a route and no mount, because a mount asks nobody for a key."""
    return await _SWAGGER_UI.get_response(name, request.scope)
