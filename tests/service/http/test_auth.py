import base64

import httpx
import pytest
from fastapi.routing import APIRoute

from service.http.auth import ApiKeys

OPEN = {"/health", "/health/live", "/health/ready"}


@pytest.mark.parametrize(
    "given", ["", "kez", "KEY", "key ", "k", "ſecret", "key" * 500, "ke\u0301y", "\x00"]
)
def test_only_the_key_itself_is_accepted(given):
    keys = ApiKeys([b"other", b"key"])

    assert keys.accept(b"key")
    assert not keys.accept(given.encode())


@pytest.mark.parametrize("given", [b"first", b"second", b"third"])
def test_each_of_several_keys_is_accepted(given):
    assert ApiKeys([b"first", b"second", b"third"]).accept(given)


def paths(app):
    found = {
        (method.upper(), path)
        for path, operations in app.openapi()["paths"].items()
        for method in operations
    }
    hidden = ("/docs", "/docs/assets/swagger-ui.css", "/openapi.json")
    return found | {("GET", path) for path in hidden}


async def test_every_route_but_health_asks_for_a_key(start):
    async with start(api_keys=("key",)) as service:
        known = paths(service.app)
        assert len(known) >= 12
        for method, path in known:
            url = path.replace("{name}", "x")
            for headers in ({}, {"X-API-Key": "wrong"}, {"Authorization": "Basic a2V5"}):
                reply = await service.client.request(method, url, headers=headers)
                assert (reply.status_code == 401) == (path not in OPEN), (method, path)
                if reply.status_code == 401:
                    assert reply.headers["www-authenticate"].startswith("Bearer")
        assert await service.metric("rm_auth_failures_total", reason="missing") > 0
        assert await service.metric("rm_auth_failures_total", reason="invalid") > 0


@pytest.mark.parametrize(
    "headers",
    [{"Authorization": "Bearer key"}, {"authorization": "bearer  key "}, {"X-API-Key": "key"}],
)
async def test_a_key_opens_in_either_header(start, headers):
    async with start(api_keys=("key",)) as service:
        assert (await service.client.get("/v1/info", headers=headers)).status_code == 200


@pytest.mark.parametrize("user", ["x", "", "a-trainer"])
async def test_a_trainer_that_knows_an_address_alone_opens_with_the_key_in_it(start, user):
    async with start(api_keys=("other", "k:e y/@")) as service:
        address = httpx.URL("http://test/rm", username=user, password="k:e y/@")
        reply = await service.client.post(address, json={"prompt": "p", "response": "r"})
        wrong = address.copy_with(password="k:e")
        refused = await service.client.post(wrong, json={"prompt": "p", "response": "r"})

    assert reply.status_code == 200
    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_api_key")
    assert "Basic" in refused.headers["www-authenticate"]


@pytest.mark.parametrize(
    "credentials",
    ["", "key", "a2V5", "x:key", base64.b64encode(b"key:").decode(), "eDpr\xff", "eDprZXk"],
)
async def test_credentials_that_hold_no_password_are_none(start, credentials):
    async with start(api_keys=("key",)) as service:
        header = {"Authorization": f"Basic {credentials}".encode("latin-1")}
        reply = await service.client.get("/v1/info", headers=header)

    assert (reply.status_code, reply.json()["code"]) == (401, "missing_api_key")


async def test_basic_credentials_of_a_proxy_leave_the_callers_own_key_alone(start):
    async with start(api_keys=("key",)) as service:
        headers = {"Authorization": "Basic cHJveHk6b3du", "X-API-Key": "key"}
        assert (await service.client.get("/v1/info", headers=headers)).status_code == 200


@pytest.mark.parametrize("value", [b"\xff\xfe", "schlüssel".encode(), b"k" * 1000])
async def test_odd_keys_are_refused_and_break_nothing(start, value):
    async with start(api_keys=("schlüssel",)) as service:
        reply = await service.client.get("/v1/info", headers={"X-API-Key": value})

    assert reply.status_code == (200 if value == "schlüssel".encode() else 401)


async def test_tricks_with_the_path_open_nothing(start):
    async with start(api_keys=("key",)) as service:
        for path in ("//v1/info", "/health/../v1/info", "/v1/info/", "/health/live/v1/info"):
            reply = await service.client.get(path)
            assert reply.status_code in {307, 401, 404}, path


def test_no_route_of_the_app_escapes_the_document():
    # Hidden routes are those of routes.documentation alone; the test above enumerates the rest.
    from service.routes import documentation

    hidden = {route.path for route in documentation.router.routes if isinstance(route, APIRoute)}
    assert hidden == {"/docs", "/docs/assets/{name}", "/openapi.json"}
