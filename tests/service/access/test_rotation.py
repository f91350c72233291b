import errno
from pathlib import Path
from typing import Any

import pytest
import structlog

from service.access import keys_file
from service.access.api_keys import ApiKeys
from service.access.rotation import Rotation
from service.observability.metrics import Metrics


class Rotated:
    def __init__(self, file: Path) -> None:
        self.file = file
        file.write_text("old\n")
        self.keys = ApiKeys(file=file)
        self.metrics = Metrics()
        self.rotation = Rotation(self.keys, self.metrics)

    def write(self, text: str) -> None:
        (self.file.parent / "new").write_text(text)
        (self.file.parent / "new").replace(self.file)

    @property
    def broken(self) -> float | None:
        return self.metrics.registry.get_sample_value("rm_api_keys_file_broken")


@pytest.fixture
def rotated(tmp_path: Path) -> Rotated:
    return Rotated(tmp_path / "keys")


@pytest.fixture
def said() -> Any:
    with structlog.testing.capture_logs() as events:
        yield events


async def test_new_keys_are_told_in_the_log_by_their_number_alone(rotated, said):
    rotated.write("new\nnewer\n")
    await rotated.rotation.look()

    assert rotated.keys.find(b"newer")
    assert said == [{"event": "api_keys_changed", "accepted": 2, "log_level": "info"}]


async def test_a_broken_file_is_an_error_in_the_log_and_a_metric_until_it_is_mended(rotated, said):
    rotated.write("hush nonsense\n")
    await rotated.rotation.look()
    await rotated.rotation.look()

    assert rotated.broken == 1
    assert [(event["event"], event["log_level"]) for event in said] == [
        ("api_keys_not_changed", "error")
    ]
    assert "line 1" in said[0]["reason"]
    assert "hush" not in str(said)
    assert rotated.keys.find(b"old")

    rotated.write("new\n")
    await rotated.rotation.look()
    assert rotated.broken == 0
    assert rotated.keys.find(b"old") is None


async def test_a_file_that_could_not_be_read_for_a_moment_is_read_as_soon_as_it_can_be(
    rotated, said, monkeypatch
):
    rotated.write("new\n")

    def no_descriptor_left(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as context:
        context.setattr(keys_file.os, "open", no_descriptor_left)
        await rotated.rotation.look()
        await rotated.rotation.look()
    assert rotated.broken == 1
    assert [event["event"] for event in said] == ["api_keys_not_changed"]
    assert rotated.keys.find(b"old")

    await rotated.rotation.look()
    assert rotated.broken == 0
    assert rotated.keys.find(b"new")
    assert rotated.keys.find(b"old") is None
