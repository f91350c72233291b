"""GET /docs: a page that needs nobody but this server."""

import re
from urllib.parse import urljoin, urlsplit

from tests.service.conftest import Service, Start

REFERENCE = re.compile(r"""(?:src|href)=["']([^"']+)["']|\burl: '([^']+)'""")


def references(page: str, *, at: str) -> list[str]:
    """URLs of everything that the page loads, as a browser would resolve them."""
    return [urljoin(at, src or url) for src, url in REFERENCE.findall(page)]


async def test_the_page_refers_to_this_server_only_and_everything_is_there(
    service: Service,
) -> None:
    page = await service.client.get("/docs")

    assert page.status_code == 200
    assert not re.search(r"https?:|//cdn", page.text)
    found = references(page.text, at="http://test/docs")
    assert len(found) == 4
    kinds = {}
    for url in found:
        assert urlsplit(url).netloc == "test"
        reply = await service.client.get(url)
        assert reply.status_code == 200, url
        kinds[urlsplit(url).path.rpartition("/")[2]] = reply.headers["content-type"].split(";")[0]
    assert kinds == {
        "openapi.json": "application/json",
        "swagger-ui-bundle.js": "text/javascript",
        "swagger-ui.css": "text/css",
        "favicon.png": "image/png",
    }


async def test_the_stylesheet_loads_nothing_further(service: Service) -> None:
    style = (await service.client.get("/docs/assets/swagger-ui.css")).text

    assert "@import" not in style
    assert {url[:5] for url in re.findall(r"url\(\"?'?([^)\"']+)", style)} <= {"data:"}


async def test_a_browser_may_not_load_anything_from_elsewhere(service: Service) -> None:
    policy = (await service.client.get("/docs")).headers["content-security-policy"]

    sources = [word for part in policy.split(";") for word in part.split()[1:]]
    assert set(sources) <= {"'self'", "'unsafe-inline'", "data:"}
    assert "default-src 'self'" in policy


async def test_behind_a_prefix_the_page_stays_below_it(service: Service) -> None:
    page = await service.client.get("/docs")

    assert all(
        url.startswith("http://proxy/rewards/")
        for url in references(page.text, at="http://proxy/rewards/docs")
    )


async def test_nothing_but_the_assets_is_served(service: Service) -> None:
    for name in ("nope.js", "..%2fcore.py", "..%2f..%2ffastapi_offline%2fcore.py", "%00", "."):
        reply = await service.client.get(f"/docs/assets/{name}")
        assert reply.status_code == 404, name
        assert reply.headers["content-type"] == "application/problem+json"


async def test_the_assets_ask_for_a_key_as_the_page_does(start: Start) -> None:
    async with start(api_keys=("key",)) as service:
        for path in ("/docs", "/docs/assets/swagger-ui.css"):
            assert (await service.client.get(path)).status_code == 401
            opened = await service.client.get(path, headers={"X-API-Key": "key"})
            assert opened.status_code == 200
