import asyncio
import json
import os
import time

import pytest

from loadtest import generator
from loadtest.connections import Origin
from loadtest.errors import LoadTestError, PeerError
from loadtest.generator import Endpoint, Generator, Target, wait_until_ready
from loadtest.peers import peer_named
from loadtest.results import check_run, latency_ms
from loadtest.scenarios import Scenario
from loadtest.schedule import ClosedLoop, OpenLoop, poisson
from loadtest.workloads import Request, Text, Workload
from tests.loadtest.scripted_server import reply, scripted_server


def workload(count):
    texts = [Text(f"p{n}", " r", f"p{n} r", 2) for n in range(count)]
    return Workload("test", tuple(Request((text,)) for text in texts))


def target(*servers, headers=None):
    endpoints = tuple(Endpoint(Origin.of(server.url)) for server in servers)
    return Target(peer_named("naive"), endpoints, headers or {})


def one_reward(body):
    return reply(json.dumps({"rewards": [0.0] * len(json.loads(body)["texts"])}).encode())


def one_at_a_time(seconds):
    """A server with a single worker that takes so long for each request."""
    worker = asyncio.Lock()

    async def answer(path, body):
        async with worker:
            await asyncio.sleep(seconds)
        return one_reward(body)

    return answer


async def at_once(path, body):
    return one_reward(body)


def test_requests_are_sent_at_their_times_in_their_order():
    schedule = poisson(30, rate=200, seed=0)
    with scripted_server(at_once) as server:
        exchanges = Generator(target(server)).run(workload(30), schedule)

    assert tuple(exchange.intended for exchange in exchanges) == schedule.times
    assert all(exchange.sent >= exchange.intended for exchange in exchanges)
    assert server.texts == [text.whole for text in workload(30).texts]


def test_latency_counts_from_the_intended_time_so_that_queueing_shows():
    # One worker, 20 ms a request, a request every millisecond: the n-th waits for all before it.
    schedule = OpenLoop(tuple(n / 1000 for n in range(20)))
    with scripted_server(one_at_a_time(0.02)) as server:
        exchanges = Generator(target(server)).run(workload(20), schedule)

    latencies = [latency_ms(exchange) for exchange in exchanges]
    assert latencies[-1] >= 20 * 20 - 19
    assert latencies[-1] > 5 * latencies[0]
    # A closed loop of one client sees none of it: this is why capacity is not latency.
    with scripted_server(one_at_a_time(0.02)) as server:
        closed = Generator(target(server)).run(workload(5), ClosedLoop(1))
    assert max(latency_ms(exchange) for exchange in closed) < latencies[-1] / 2


def test_a_late_generator_voids_the_run(monkeypatch):
    begin = generator._Sending.begin

    def blocked(self):
        # What a blocked event loop, a garbage collection or a lost core does to a generator.
        begin(self)
        asyncio.get_running_loop().call_later(0.1, time.sleep, 0.1)

    schedule = OpenLoop(tuple(n / 500 for n in range(100)))
    with scripted_server(at_once) as server:
        there = target(server)
        monkeypatch.setattr(generator._Sending, "begin", blocked)
        exchanges = Generator(there).run(workload(100), schedule)

    result = check_run(Scenario("late", workload(100), schedule), exchanges, there, None)
    assert result.lateness_p99_ms > 10
    assert "late" in result.void
    assert not result.is_clean
    assert result.outcomes["ok"] == 100


def test_clients_of_a_closed_loop_send_one_request_at_a_time():
    under_way, most = 0, 0

    async def answer(path, body):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.005)
        under_way -= 1
        return one_reward(body)

    with scripted_server(answer) as server:
        exchanges = Generator(target(server)).run(workload(40), ClosedLoop(4))

    assert most == 4
    assert [exchange.index for exchange in exchanges] == list(range(40))
    assert server.connections == 4


def test_two_servers_are_asked_at_the_same_time_and_both_must_answer():
    with (
        scripted_server(one_at_a_time(0.0)) as quick,
        scripted_server(one_at_a_time(0.1)) as slow,
    ):
        exchanges = Generator(target(quick, slow)).run(workload(1), ClosedLoop(1))

    assert [reply.status for reply in exchanges[0].replies] == [200, 200]
    assert 0.1 <= exchanges[0].done < 0.2 + 5
    assert quick.texts == slow.texts


def test_a_server_that_hangs_up_gives_failed_exchanges_and_the_run_goes_on():
    async def answer(path, body):
        return b"" if b"p1 " in body else one_reward(body)

    with scripted_server(answer) as server:
        exchanges = Generator(target(server)).run(workload(3), ClosedLoop(1))

    assert [bool(exchange.failure) for exchange in exchanges] == [False, True, False]


def test_headers_reach_the_server():
    request = target(headers={"X-API-Key": "k"})
    endpoint = Endpoint(Origin("host", 1))
    keyed = Target(request.peer, (endpoint,), request.headers)

    assert b"X-API-Key: k\r\n" in keyed.requests(workload(1).requests[0])[0]


def test_the_generator_runs_on_its_core_and_only_while_it_sends():
    before = os.sched_getaffinity(0)
    core = min(before)
    seen = []

    async def answer(path, body):
        seen.append(os.sched_getaffinity(os.getpid()))  # of the main thread, the generator's
        return one_reward(body)

    with scripted_server(answer) as server:
        Generator(target(server), core=core).run(workload(2), ClosedLoop(1))
        with pytest.raises(LoadTestError, match="core"):
            Generator(target(server), core=1023).run(workload(1), ClosedLoop(1))

    assert seen == [{core}] * 2
    assert os.sched_getaffinity(0) == before


def test_a_server_that_never_gets_ready_is_told_by_name():
    async def answer(path, body):
        return reply(b"{}", status=503)

    with scripted_server(answer) as server, pytest.raises(PeerError, match="is not ready"):
        wait_until_ready(target(server), timeout_seconds=0.3)


def test_a_schedule_of_another_length_is_a_bug():
    with scripted_server(at_once) as server, pytest.raises(LoadTestError, match="length"):
        Generator(target(server)).run(workload(3), OpenLoop((0.0,)))
