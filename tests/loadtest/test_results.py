import json

import pytest

from loadtest import workloads
from loadtest.connections import Origin, Reply
from loadtest.errors import LoadTestError
from loadtest.generator import Endpoint, Exchange, Target
from loadtest.oracle import Oracle
from loadtest.peers import peer_named
from loadtest.results import check_run, run_scenario
from loadtest.scenarios import Scenario
from loadtest.schedule import ClosedLoop
from tests.loadtest.made_up_run import made_up_run
from tests.loadtest.scripted_server import reply, scripted_server


@pytest.fixture(scope="module")
def workload(tokenizer):
    return workloads.grpo(tokenizer, groups=3, responses=4, prompt_tokens=16)


@pytest.fixture(scope="module")
def oracle(model, workload):
    oracle = Oracle({"safety": model})
    oracle.learn(workload.texts)
    return oracle


def target(url="http://127.0.0.1:1"):
    return Target(peer_named("naive"), (Endpoint(Origin.of(url)),), {})


def answers(oracle, workload, *, off_by=0.0):
    """The oracle's own rewards, one of them off."""
    rewards = {text.whole: oracle.reward("safety", text) for text in workload.texts}
    victim = workload.texts[5].whole

    async def answer(path, body):
        wholes = json.loads(body)["texts"]
        values = [rewards[whole] + (off_by if whole == victim else 0.0) for whole in wholes]
        return reply(json.dumps({"rewards": values}).encode())

    return answer


def run(answer, workload, oracle):
    with scripted_server(answer) as server:
        there = target(server.url)
        return run_scenario(Scenario("test", workload, ClosedLoop(2)), there, oracle)


def check(workload, exchanges, oracle, sizes=()):
    return check_run(Scenario("t", workload, ClosedLoop(2), sizes), exchanges, target(), oracle)


def test_right_rewards_are_ok(workload, oracle):
    result = run(answers(oracle, workload), workload, oracle)

    assert result.outcomes == {"ok": 3, "refused": 0, "failed": 0}
    assert result.texts_ok == 12
    assert result.max_error == pytest.approx(0.0, abs=1e-9)
    assert len(result.latencies_ms) == 3
    assert result.texts_per_second == pytest.approx(12 / result.makespan_seconds)


def test_one_wrong_reward_fails_its_request_and_is_named(workload, oracle):
    result = run(answers(oracle, workload, off_by=0.003), workload, oracle)

    assert result.outcomes == {"ok": 2, "refused": 0, "failed": 1}
    assert result.reasons == {"wrong reward": 1}
    assert result.max_error == pytest.approx(0.003, rel=1e-3)
    assert result.texts_ok == 8
    assert not result.is_clean


def test_swapped_rewards_are_caught(workload, oracle):
    right = answers(oracle, workload)

    async def answer(path, body):
        _, _, rest = (await right(path, body)).partition(b"\r\n\r\n")
        rewards = json.loads(rest)["rewards"]
        return reply(json.dumps({"rewards": [rewards[1], rewards[0], *rewards[2:]]}).encode())

    assert run(answer, workload, oracle).reasons == {"wrong reward": 3}


def exchange(index, *replies, failure="", intended=0.0, sent=None, done=0.01):
    return Exchange(index, intended, intended if sent is None else sent, done, replies, failure)


def test_every_request_is_ok_refused_or_failed(workload, oracle):
    values = [oracle.reward("safety", text) for text in workload.requests[0].texts]
    good = Reply(200, json.dumps({"rewards": values}).encode())
    exchanges = [exchange(0, good), exchange(1, Reply(503, b"")), exchange(2, failure="broken")]

    result = check(workload, exchanges, oracle)

    assert result.outcomes == {"ok": 1, "refused": 1, "failed": 1}
    assert sum(result.outcomes.values()) == result.offered
    assert result.reasons == {"status 503": 1, "broken": 1}


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (500, b"", "status 500"),
        (200, b"not json", "JSONDecodeError"),
        (200, b"{}", "KeyError"),
        (200, b'{"rewards": [1.0]}', "1 rewards for 4 texts"),
        (200, b'{"rewards": [1.0, 2.0, NaN, 3.0]}', "finite"),
        (200, b'{"rewards": [1.0, 2.0, null, 3.0]}', "TypeError"),
    ],
)
def test_what_breaks_the_contract_is_failed_and_not_refused(workload, oracle, status, body, said):
    found = check(workload, [exchange(n, Reply(status, body)) for n in range(3)], oracle)

    assert found.outcomes["failed"] == 3
    assert said in next(iter(found.reasons))


def test_a_lost_or_doubled_request_is_a_bug(workload, oracle):
    for indices in ([0, 1], [0, 1, 1]):
        with pytest.raises(LoadTestError, match="lost or doubled"):
            check(workload, [exchange(n) for n in indices], oracle)


def test_a_group_sent_singly_lasts_until_its_last_member(workload):
    singles = workload.as_singles("singles")
    good = Reply(200, b'{"rewards": [0.0]}')
    exchanges = [
        exchange(n, good, intended=float(n // 4), done=n // 4 + 0.1 * (n % 4 + 1))
        for n in range(12)
    ]

    result = check(singles, exchanges, None, (4, 4, 4))

    assert result.group_latencies_ms == pytest.approx((400.0, 400.0, 400.0))
    assert result.makespan_seconds == pytest.approx(2.4)
    assert result.max_error is None


@pytest.mark.parametrize(
    ("lateness_ms", "latency_ms", "void"),
    [(1.9, 5.0, False), (2.1, 5.0, True), (2.1, 300.0, False), (3.1, 300.0, True)],
)
def test_a_run_is_void_beyond_2_ms_and_beyond_1_percent_of_the_median(
    lateness_ms, latency_ms, void
):
    run = made_up_run(lateness_ms=lateness_ms, latencies=[latency_ms])

    assert bool(run.void) is void


def test_a_result_is_json(workload, oracle):
    found = run(answers(oracle, workload), workload, oracle).to_json()

    assert json.loads(json.dumps(found)) == found
    assert found["offered"] == found["ok"] + found["refused"] + found["failed"]
    assert found["distribution"][-1]["percentile"] == 100.0
