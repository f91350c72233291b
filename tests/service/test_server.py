import asyncio
import resource
import signal
from types import SimpleNamespace

import pytest
import uvicorn

from service.server import (
    DrainingServer,
    address_to_try,
    command_to_try,
    raise_open_files,
    write_atomically,
)
from service.settings import Settings


async def server(**values) -> DrainingServer:
    async def app(scope, receive, send):
        """Never called."""

    state = SimpleNamespace(draining=False)
    made = DrainingServer(uvicorn.Config(app), Settings(**values), state)
    made._loop = asyncio.get_running_loop()
    return made


async def test_the_first_signal_says_so_before_the_port_closes():
    leaving = await server(drain_delay_seconds=0.05)

    leaving.handle_exit(signal.SIGTERM, None)

    assert leaving._state.draining
    assert not leaving.should_exit
    await asyncio.sleep(0.2)
    assert leaving.should_exit
    assert leaving.exit_code == 0


async def test_a_second_sigterm_changes_nothing_and_a_second_ctrl_c_ends_at_once():
    leaving = await server(drain_delay_seconds=600)
    leaving.handle_exit(signal.SIGTERM, None)

    leaving.handle_exit(signal.SIGTERM, None)
    await asyncio.sleep(0)
    assert not leaving.should_exit

    leaving.handle_exit(signal.SIGINT, None)
    await asyncio.sleep(0)
    assert leaving.should_exit
    assert leaving.exit_code == 130


def test_the_port_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "port"

    write_atomically(path, "8000\n")
    write_atomically(path, "8001\n")

    assert path.read_text() == "8001\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("rewards.example", "http://rewards.example:8000"),
    ],
)
def test_a_person_is_told_an_address_that_can_be_called(host, url):
    assert address_to_try(host, 8000) == url


def test_a_key_that_is_asked_for_is_left_to_the_reader():
    assert "Bearer $KEY" in command_to_try("http://127.0.0.1:8000", with_key=True)
    assert "Bearer" not in command_to_try("http://127.0.0.1:8000", with_key=False)


def test_as_many_connections_are_allowed_as_the_system_does():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
        raise_open_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(before[1], 65_536), before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
