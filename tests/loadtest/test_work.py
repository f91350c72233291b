import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.connections import Origin
from loadtest.generator import Endpoint, Target
from loadtest.peers import peer_named
from loadtest.work import Work, counters, read_work
from tests.loadtest.scripted_server import reply, scripted_server

PAGE = """
# TYPE rm_engine_busy_seconds counter
rm_engine_busy_seconds_total 12.5
# TYPE rm_tokens counter
rm_tokens_total{kind="real"} 70.0
rm_tokens_total{kind="prefix_reused"} 30.0
# TYPE vllm:prefix_cache_hits counter
vllm:prefix_cache_hits_total{engine="0",model_name="reward"} 128.0
"""


def test_samples_are_summed_by_name_and_by_label():
    wanted = {
        "read_tokens": ("rm_tokens_total",),
        "cached_tokens": ('rm_tokens_total{kind="prefix_reused"}', "vllm:prefix_cache_hits_total"),
        "busy_seconds": ("nothing_of_this_name",),
    }

    assert counters(PAGE, wanted) == {"read_tokens": 100.0, "cached_tokens": 158.0}


def test_a_server_s_counters_are_read_and_their_rise_is_the_work():
    busy = iter((12.5, 14.0))

    async def answer(path: str, body: bytes) -> bytes:
        assert path == "/metrics"
        return reply(PAGE.replace("12.5", str(next(busy))).encode())

    with scripted_server(answer) as server:
        target = Target(peer_named("rewardd"), (Endpoint(Origin("127.0.0.1", server.port)),), {})
        before, after = read_work(target), read_work(target)

    rise = after.since(before)
    assert rise.busy_seconds == pytest.approx(1.5)
    assert rise.cached_tokens == 0.0
    assert before.cached_share == pytest.approx(0.3)
    assert before.cpu_seconds is None  # it was not started here
    assert rise.cached_share is None  # of no tokens


def test_a_server_without_counters_or_that_is_gone_has_done_nothing_that_is_known():
    for peer in ("naive", "rewardd"):
        assert (
            read_work(Target(peer_named(peer), (Endpoint(Origin("127.0.0.1", 1)),), {})) == Work()
        )


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="reads /proc")
def test_processor_time_is_that_of_all_processes_of_the_server_s_session():
    # A child that works and waits for one of its own, which works too.
    spin = "import time\nwhile time.process_time() < 0.2: pass\n"
    code = f"import subprocess, sys\n{spin}subprocess.run([sys.executable, '-c', {spin!r}])\n"
    with subprocess.Popen(
        [sys.executable, "-c", code + "print(flush=True)\ninput()"],
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        endpoint = Endpoint(Origin("127.0.0.1", 1), session=process.pid)
        found = read_work(Target(peer_named("naive"), (endpoint,), {})).cpu_seconds
        process.communicate(b"\n")

    assert found >= 0.35


def test_work_is_compared_by_the_device_s_seconds_and_else_by_the_processor_s():
    assert Work(cpu_seconds=9.0, busy_seconds=3.0).times(Work(2.0, 2.0)) == pytest.approx(1.5)
    assert Work(cpu_seconds=9.0).times(Work(cpu_seconds=3.0)) == pytest.approx(3.0)
    assert Work(busy_seconds=9.0).times(Work(cpu_seconds=3.0)) is None
