import socket
from pathlib import Path
from typing import Any

import pytest

from rm_core.errors import RewardError
from service.preflight import bound_sockets, check_settings
from service.settings import Settings


def test_a_port_that_is_bound_refuses_callers_until_the_models_are_there() -> None:
    (held,) = bound_sockets("127.0.0.1", 0)
    with held:
        address = held.getsockname()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
        held.listen()
        socket.create_connection(address).close()


def test_a_port_in_use_is_told_with_a_way_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RewardError, match=rf"port {port} of 127\.0\.0\.1 is in use.*--port"):
            bound_sockets("127.0.0.1", port)


def test_a_name_with_several_addresses_has_one_free_port_on_all() -> None:
    sockets = bound_sockets("localhost", 0)

    assert len({held.getsockname()[1] for held in sockets}) == 1
    for held in sockets:
        held.close()


@pytest.mark.parametrize("host", ["nowhere.invalid", "203.0.113.1", "a" * 70])
def test_an_address_that_is_not_ours_is_told_by_its_name(host: str) -> None:
    with pytest.raises(RewardError, match=host):
        bound_sockets(host, 0)


def model(root: Path) -> str:
    """What is enough of a checkpoint to be looked at without loading it."""
    root.mkdir()
    (root / "config.json").write_text("{}")
    (root / "model.safetensors").write_bytes(b"")
    return str(root)


def test_sound_settings_pass_and_leave_a_state_directory_that_git_ignores(tmp_path: Path) -> None:
    check_settings(Settings(safety_model=model(tmp_path / "m"), state_dir=tmp_path / "state"))

    assert [path.name for path in (tmp_path / "state").iterdir()] == [".gitignore"]
    assert (tmp_path / "state" / ".gitignore").read_text().splitlines()[-1] == "*"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"safety_model": None}, "no reward model is named"),
        ({"helpfulness_model": "/absent/model"}, "/absent/model"),
        ({"helpfulness_model": "{here}/empty"}, r"empty has no config\.json"),
        ({"helpfulness_model": "{here}/keys"}, "keys is a file; name the directory"),
        ({"dialect_reward": "helpfulness"}, "no helpfulness model is loaded"),
        ({"api_keys_file": "{here}/keys"}, "api_keys_file"),
        ({"hmac_secret_file": "{here}/secret"}, "hmac_secret_file"),
        ({"port_file": "{here}/absent/port"}, "port_file .* no directory"),
        ({"state_dir": "{here}/m/config.json"}, "state_dir .*--state-dir"),
        ({"state_dir": "{here}/foreign"}, "no SQLite database"),
        ({"state_dir": "{here}/newer"}, "database of version 99"),
    ],
)
def test_what_would_end_a_start_after_loading_is_told_before(
    tmp_path: Path, wrong: dict[str, Any], told: str
) -> None:
    settings = {"safety_model": model(tmp_path / "m"), "state_dir": str(tmp_path / "state")}
    for name in ("empty", "foreign", "newer"):
        (tmp_path / name).mkdir()
    (tmp_path / "keys").touch()
    (tmp_path / "foreign" / "streams.sqlite3").write_text("no database at all")
    header = bytearray(100)
    header[:16], header[63] = b"SQLite format 3\0", 99
    (tmp_path / "newer" / "streams.sqlite3").write_bytes(header)
    given = {
        name: value.format(here=tmp_path) if isinstance(value, str) else value
        for name, value in wrong.items()
    }

    with pytest.raises(RewardError, match=told):
        check_settings(Settings(**(settings | given)))
