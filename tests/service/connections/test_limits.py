import resource

import pytest

from service.connections.limits import RESERVED_PLACES, ConnectionLimits, most_connections
from service.settings import Settings


@pytest.mark.parametrize("files", [256, 1024, 20_000])
def test_descriptors_are_left_for_health_and_for_files(monkeypatch: pytest.MonkeyPatch, files: int):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))

    allowed = most_connections(None)

    assert 0 < allowed + RESERVED_PLACES + 64 <= files
    assert most_connections(10) == 10
    assert most_connections(10**6) == allowed


def test_the_settings_are_what_limits():
    limits = ConnectionLimits.of(Settings.load(max_header_bytes=5000, header_timeout_seconds=3))

    assert (limits.header_bytes, limits.url_bytes, limits.header_seconds) == (5000, 2500, 3.0)
