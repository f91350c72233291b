import os
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from loadtest.errors import LoadTestError, PeerError
from loadtest.generator import wait_until_ready
from loadtest.peers import peer_named
from loadtest.peers.contract import Peer
from loadtest.servers import Kept, Launch, Remote, free_port, parse_command

# Answers 200 to everything and tells what it was started with.
SERVER = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *_): pass
told = [*sys.argv[3:], os.environ.get("OMP_NUM_THREADS", "unset")]
open(sys.argv[1], "a").write(" ".join(told) + "\\n")
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
"""
NAIVE = peer_named("naive")


def launch(tmp_path: Path, *, peer: Peer = NAIVE, threads: int = 2) -> tuple[Launch, Path]:
    script, told = tmp_path / "server.py", tmp_path / "told"
    script.write_text(SERVER)
    command = ("{python}", str(script), str(told), "{port}", "model={model}")
    return Launch(peer, command=command, threads=threads), told


def test_one_server_for_each_model_where_a_peer_holds_one_and_the_cores_are_shared(tmp_path):
    starter, told = launch(tmp_path, threads=4)

    with starter.running({"safety": Path("/s"), "helpfulness": Path("/h")}) as target:
        assert [endpoint.role for endpoint in target.endpoints] == ["safety", "helpfulness"]
        assert len({endpoint.origin.port for endpoint in target.endpoints}) == 2

    assert told.read_text().splitlines() == ["model=/s 2", "model=/h 2"]


def test_servers_that_bind_their_threads_are_given_cores_apart(tmp_path, monkeypatch):
    # How many threads each of its processes has is theirs to say then, and not the shell's.
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    _, told = launch(tmp_path)
    command = ("CORES={cores}", "{python}", str(tmp_path / "server.py"), str(told), "{port}")
    starter = Launch(NAIVE, command=(*command, "cores={cores}"), threads=2)

    with starter.running({"safety": Path("/s"), "helpfulness": Path("/h")}):
        pass

    allowed = [str(core) for core in sorted(os.sched_getaffinity(0))]
    wanted = [f"cores={allowed[at % len(allowed)]} unset" for at in range(2)]
    assert told.read_text().splitlines() == wanted


def test_an_interpreter_tells_where_its_environment_lies(tmp_path):
    _, told = launch(tmp_path)
    python = tmp_path / "environment" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    command = ("{python}", str(tmp_path / "server.py"), str(told), "{port}", "{environment}/lib")

    with Launch(NAIVE, python=str(python), command=command).running({"safety": Path("/s")}):
        pass

    assert told.read_text() == f"{tmp_path}/environment/lib 2\n"


def test_one_server_for_both_models_where_it_can_hold_them(tmp_path):
    starter, told = launch(tmp_path, peer=peer_named("rewardd"), threads=4)

    with starter.running({"safety": Path("/s"), "helpfulness": Path("/h")}) as target:
        assert len(target.endpoints) == 1

    assert told.read_text() == "model= --safety-model /s --helpfulness-model /h 4\n"


def test_a_server_is_stopped_at_the_end(tmp_path):
    starter, _ = launch(tmp_path)
    with starter.running({"safety": Path("/s")}) as target:
        wait_until_ready(target, timeout_seconds=5)

    with pytest.raises(PeerError):
        wait_until_ready(target, timeout_seconds=0.2)


def test_a_server_that_ends_is_told_with_its_last_words_and_what_it_needs():
    command = (sys.executable, "-c", "raise SystemExit('no module named litserve')")
    starter = Launch(peer_named("litserve"), command=command)

    with (
        pytest.raises(PeerError, match=r"(?s)needs: litserve.*no module named litserve"),
        starter.running({"safety": Path("/s")}),
    ):
        pass


def test_a_peer_without_a_command_asks_for_one():
    with (
        pytest.raises(LoadTestError, match="--command tei="),
        Launch(peer_named("tei")).running({"safety": Path("/s")}),
    ):
        pass


def test_a_server_by_url_is_asked_and_neither_started_nor_stopped(tmp_path):
    starter, told = launch(tmp_path)
    with starter.running({"safety": Path("/s")}) as started:
        port = started.endpoints[0].origin.port
        remote = Remote(peer_named("sglang"), (f"http://127.0.0.1:{port}",))
        with remote.running({"safety": Path("/s")}) as target:
            assert target.endpoints[0].origin == started.endpoints[0].origin
            assert target.endpoints[0].session is None
        with (
            pytest.raises(PeerError, match="a URL for each of safety, helpfulness"),
            remote.running({"safety": Path("/s"), "helpfulness": Path("/h")}),
        ):
            pass
        with remote.running({"helpfulness": Path("/h")}) as target:
            assert target.endpoints[0].role == "helpfulness"

    assert len(told.read_text().splitlines()) == 1


def test_a_server_started_here_tells_its_session(tmp_path):
    starter, _ = launch(tmp_path)
    with starter.running({"safety": Path("/s")}) as target:
        session = target.endpoints[0].session
        assert session is not None
        assert os.getsid(session) == session != os.getsid(0)


def test_a_kept_server_is_started_once_and_stands_still_between_its_turns(tmp_path):
    starter, told = launch(tmp_path)
    models = {"safety": Path("/s")}
    with ExitStack() as stack:
        kept = Kept(starter, stack)
        with kept.running(models) as target:
            wait_until_ready(target, timeout_seconds=5)
            session = target.endpoints[0].session
            assert session is not None
        with pytest.raises(PeerError):
            wait_until_ready(target, timeout_seconds=0.2)
        with kept.running(models) as again:
            assert again == target
            wait_until_ready(target, timeout_seconds=5)

    # It was told to go on, so that it could hear that it is to end.
    assert not Path(f"/proc/{session}").exists()
    assert len(told.read_text().splitlines()) == 1


def test_ports_are_free_and_commands_are_split_as_a_shell_does():
    assert 1024 <= free_port() <= 65535
    assert parse_command("serve --flag 'a b' {model}") == ("serve", "--flag", "a b", "{model}")
