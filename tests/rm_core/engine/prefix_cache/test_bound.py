"""The default is a share of what is free, within 1 GiB; what a caller says holds."""

import pytest

from rm_core.engine.prefix_cache import bound


@pytest.mark.parametrize(
    ("asked", "device", "free", "expected"),
    [
        (None, "cpu", 10 * 2**30, 2**29),
        (None, "cpu", 100 * 2**30, 2**30),
        (None, "cuda", 100 * 2**30, 0),
        (0, "cpu", 100 * 2**30, 0),
        (7, "cuda", 100 * 2**30, 7),
    ],
)
def test_the_bound(
    asked: int | None, device: str, free: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bound, "_available_bytes", lambda: free)

    assert bound.prefix_cache_bytes(asked, device) == expected


def test_this_machine_tells_what_is_free() -> None:
    assert 0 < bound.prefix_cache_bytes(None, "cpu") <= bound.DEFAULT_MOST_BYTES
