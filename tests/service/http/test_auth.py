import base64
from urllib.parse import unquote

import httpx
import pytest
import structlog
from fastapi.routing import APIRoute

from service.http.auth import RequireKey
from tests.service.rig import until

OPEN = {"/health", "/health/live", "/health/ready", "/health/state"}


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


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE", "get")


def tricks(path):
    """Ways to write a path that some router once took for another."""
    first, _, rest = path.lstrip("/").partition("/")
    return (
        path,
        path + "/",
        "/" + path,
        "//health/live/.." + path,
        "/health/live/.." + path,
        "/health/live;" + path,
        path + "/../../health/live",
        "/%2e" + path,
        "/health/live%2f..%2f.." + path,
        "/%68ealth/liv%65" + path,
        "/" + first.upper() + "/" + rest,
        path + "%00",
        path + "?path=/health/live",
        path + ".json",
    )


HEADERS = (
    (("Host", "x/health/live?"),),
    (("Host", "127.0.0.1/health/live#"),),
    (("X-Forwarded-Prefix", "/health/live"), ("X-Forwarded-Host", "health")),
    (("X-Original-URL", "/health/live"), ("X-Rewrite-URL", "/health/live")),
    (("X-HTTP-Method-Override", "GET"), ("X-Forwarded-For", "127.0.0.1")),
)


def operations(app):
    return {(method, path.replace("{name}", "x")) for method, path in paths(app)}


async def status_of(app, method, target, headers=()):
    """The status of a request as it comes from the socket: no client that mends its address."""
    path, _, query = target.partition("?")
    statuses = []

    async def receive():
        return {"type": "http.request", "body": b"{", "more_body": False}

    async def send(message):
        statuses.append(message.get("status"))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }
    await app(scope, receive, send)
    return statuses[0]


async def test_no_way_of_asking_opens_anything_to_a_stranger(start):
    """Every route by every method, path and header that others were fooled by: 401, always."""
    statuses = {}
    async with start(api_keys=("key",)) as service:
        known = {path for _, path in operations(service.app)} - OPEN | {"/nowhere"}
        for path in sorted(known):
            for method in METHODS:
                for trick in tricks(path):
                    statuses[method, trick] = await status_of(service.app, method, trick)
            for headers in HEADERS:
                asked = ("POST", path, headers)
                statuses[asked] = await status_of(service.app, "POST", path, headers)

    assert len(statuses) > 4000
    assert {asked for asked, status in statuses.items() if status != 401} == set()


async def test_open_routes_are_open_by_their_own_method_alone(start):
    async with start(api_keys=("key",)) as service:
        for path in sorted(OPEN):
            assert (await service.client.get(path)).status_code == 200
            for method in METHODS[1:]:
                assert await status_of(service.app, method, path) == 401, (method, path)


async def test_without_the_guard_strangers_learn_which_paths_there_are(start, monkeypatch):
    monkeypatch.setattr(RequireKey, "_asks", lambda *_: False)
    async with start(api_keys=("key",)) as service:
        told = [await service.client.get(path) for path in ("/nowhere", "/score", "/v1/info")]

    # Routes stay closed even then: the scope's own check knows of no key.
    assert [reply.status_code for reply in told] == [404, 405, 403]


async def test_a_stranger_is_refused_before_the_body_is_looked_at(start):
    async with start(api_keys=("key",), max_body_bytes=1024) as service:
        replies = [
            await service.client.post("/score", content=content, headers=headers)
            for content, headers in (
                (b"{", {"Content-Type": "application/json"}),
                (b"x", {"Content-Type": "text/plain"}),
                (b"x" * 5000, {"Content-Type": "application/json"}),
            )
        ]

    assert [reply.status_code for reply in replies] == [401, 401, 401]


@pytest.fixture
def keys_file(tmp_path):
    (tmp_path / "keys").write_text(
        "scorer scopes=score name=trainer\nboss scopes=admin\nwatcher scopes=metrics\nall\n"
    )
    return tmp_path / "keys"


ADMIN = {
    *(("PUT", "/streams/x"), ("DELETE", "/streams/x")),
    *(("GET", "/admin/models"), ("PUT", "/admin/models/{role}")),
}


@pytest.mark.parametrize("key", ["scorer", "boss", "watcher", "all"])
async def test_a_key_opens_what_its_scopes_say_and_nothing_else(start, keys_file, key):
    async with start(api_keys_file=keys_file) as service:
        refused = set()
        for method, path in operations(service.app):
            reply = await service.client.request(
                method, path, headers={"X-API-Key": key}, content=b"{"
            )
            if reply.status_code == 403:
                refused.add((method, path))
                assert reply.json()["code"] == "insufficient_scope"
                assert "insufficient_scope" in reply.headers["www-authenticate"]
        guarded = {one for one in operations(service.app) if one[1] not in OPEN}

    metrics = {("GET", "/metrics")}
    allowed = {
        "scorer": guarded - ADMIN - metrics,
        "boss": ADMIN,
        "watcher": metrics,
        "all": guarded,
    }[key]
    assert refused == guarded - allowed
    assert len(guarded) > 20


async def test_the_log_names_the_key_that_has_a_name(start, keys_file):
    with structlog.testing.capture_logs() as events:
        async with start(api_keys_file=keys_file) as service:
            for key in ("scorer", "all"):
                await service.client.get("/v1/info", headers={"X-API-Key": key})

    callers = [event.get("caller") for event in events if event["event"] == "request"]
    assert callers == ["trainer", None]


async def test_keys_are_rotated_without_a_restart(start, keys_file):
    async with start(api_keys_file=keys_file) as service:
        keys_file.write_text("fresh\n")
        for call in service.state.on_hangup:
            call()
        await until(lambda: service.state.keys.find(b"fresh"))
        replies = [
            await service.client.get("/v1/info", headers={"X-API-Key": key})
            for key in ("fresh", "all")
        ]

    assert [reply.status_code for reply in replies] == [200, 401]


def test_no_route_of_the_app_escapes_the_document():
    # Hidden routes are those of routes.documentation alone; the test above enumerates the rest.
    from service.routes import documentation

    hidden = {route.path for route in documentation.router.routes if isinstance(route, APIRoute)}
    assert hidden == {"/docs", "/docs/assets/{name}", "/openapi.json"}
