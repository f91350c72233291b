import asyncio

import pytest

from loadtest.connections import ConnectionFailed, Connections, Origin, Reply, request_bytes
from loadtest.errors import LoadTestError
from tests.loadtest.scripted_server import reply, scripted_server

BODY = b'{"rewards": [1.5, -2.0, 3.25]}'


def exchange(url, *, times=1, timeout=5.0, together=False):
    async def run():
        origin = Origin.of(url)
        pool = Connections(origin, timeout_seconds=timeout)
        request = request_bytes(origin, "/score", b'{"texts": ["a"]}')
        try:
            if together:
                return await asyncio.gather(*(pool.exchange(request) for _ in range(times)))
            return [await pool.exchange(request) for _ in range(times)]
        finally:
            pool.close()

    return asyncio.run(run())


@pytest.mark.parametrize("chunked", [False, True])
def test_replies_are_read_whole_and_the_connection_is_kept(chunked):
    async def answer(path, body):
        return reply(BODY, chunked=chunked)

    with scripted_server(answer) as server:
        replies = exchange(server.url, times=5)

    assert replies == [Reply(200, BODY)] * 5
    assert server.connections == 1
    assert server.bodies == [("/score", b'{"texts": ["a"]}')] * 5


def test_requests_at_the_same_time_have_connections_of_their_own():
    async def answer(path, body):
        await asyncio.sleep(0.05)
        return reply(BODY)

    with scripted_server(answer) as server:
        exchange(server.url, times=6, together=True)

    assert server.connections == 6


def test_a_connection_that_the_server_closes_is_replaced():
    async def answer(path, body):
        return reply(BODY, close=True)

    with scripted_server(answer) as server:
        assert exchange(server.url, times=3) == [Reply(200, BODY)] * 3

    assert server.connections == 3


def test_errors_keep_their_status():
    async def answer(path, body):
        return reply(b"{}", status=503)

    with scripted_server(answer) as server:
        assert exchange(server.url)[0].status == 503


def test_a_server_that_hangs_up_is_a_failure_and_not_a_retry():
    async def answer(path, body):
        return b""

    with scripted_server(answer) as server, pytest.raises(ConnectionFailed, match="closed"):
        exchange(server.url)

    assert len(server.bodies) == 1


def test_a_reply_that_is_not_http_is_a_failure():
    async def answer(path, body):
        return b"hello\r\n\r\n"

    with scripted_server(answer) as server, pytest.raises(ConnectionFailed, match="not HTTP"):
        exchange(server.url)


def test_a_reply_that_does_not_come_ends_by_the_timeout():
    async def answer(path, body):
        await asyncio.Event().wait()
        return b""

    with scripted_server(answer) as server, pytest.raises(ConnectionFailed, match="no reply"):
        exchange(server.url, timeout=0.1)


def test_nobody_listening_is_a_failure():
    with pytest.raises(ConnectionFailed, match="can't connect"):
        exchange("http://127.0.0.1:1")


def test_only_plain_http_urls_are_taken():
    assert Origin.of("http://host:81/x") == Origin("host", 81)
    assert Origin.of("host") == Origin("host", 80)
    for url in ("https://host", "http://"):
        with pytest.raises(LoadTestError, match="http"):
            Origin.of(url)
