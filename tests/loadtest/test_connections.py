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


def replying(whole, *, after=0.0):
    async def answer(path, body):
        await asyncio.sleep(after)
        return whole

    return answer


@pytest.mark.parametrize("chunked", [False, True])
def test_replies_are_read_whole_and_the_connection_is_kept(chunked):
    with scripted_server(replying(reply(BODY, chunked=chunked))) as server:
        replies = exchange(server.url, times=5)

    assert replies == [Reply(200, BODY)] * 5
    assert server.connections == 1
    assert server.bodies == [("/score", b'{"texts": ["a"]}')] * 5


def test_requests_at_the_same_time_have_connections_of_their_own():
    with scripted_server(replying(reply(BODY), after=0.05)) as server:
        exchange(server.url, times=6, together=True)

    assert server.connections == 6


def test_a_connection_that_the_server_closes_is_replaced():
    with scripted_server(replying(reply(BODY, close=True))) as server:
        assert exchange(server.url, times=3) == [Reply(200, BODY)] * 3

    assert server.connections == 3


def test_errors_keep_their_status():
    with scripted_server(replying(reply(b"{}", status=503))) as server:
        assert exchange(server.url)[0].status == 503


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (replying(b""), "closed"),
        (replying(b"hello\r\n\r\n"), "not HTTP"),
        (replying(b"", after=60), "no reply"),
    ],
    ids=["hangs up", "no HTTP", "never answers"],
)
def test_what_is_no_reply_is_a_failure_and_not_a_retry(answer, said):
    with scripted_server(answer) as server, pytest.raises(ConnectionFailed, match=said):
        exchange(server.url, timeout=0.2)

    assert len(server.bodies) == 1


def test_nobody_listening_is_a_failure():
    with pytest.raises(ConnectionFailed, match="can't connect"):
        exchange("http://127.0.0.1:1")


def test_only_plain_http_urls_are_taken():
    assert Origin.of("http://host:81/x") == Origin("host", 81)
    assert Origin.of("host") == Origin("host", 80)
    for url in ("https://host", "http://"):
        with pytest.raises(LoadTestError, match="http"):
            Origin.of(url)
