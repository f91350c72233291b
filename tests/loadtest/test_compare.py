import json
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from loadtest.compare import CompareSettings, compare
from loadtest.errors import LoadTestError, PeerError
from loadtest.generator import Target
from loadtest.peers import Peer, peer_named
from loadtest.servers import Launch
from loadtest.settings import CACHE_NAME
from tests.loadtest.made_up_run import made_up_run


def test_a_peer_that_does_not_start_is_left_out_and_told(models, tokenizer, tmp_path):
    absent = Launch(peer_named("litserve"), command=("{python}", "-c", "raise SystemExit('no')"))
    settings = CompareSettings(["one"], scale=0.05, rounds=2, directory=tmp_path)
    said = []

    found = compare(settings, [absent], {"safety": models.safety}, tokenizer, said.append)

    assert "litserve ended" in found.absent["litserve"]
    assert "**litserve: left out: litserve ended" in found.table()
    assert found.table().endswith("no**")
    assert sum("left out" in line for line in said) == 1
    assert not found.is_clean
    assert json.loads(json.dumps(found.to_json()))["absent"]


def test_every_shape_warms_a_server_up_with_texts_of_its_own(
    models, tokenizer, monkeypatch, tmp_path
):
    sent = []

    @contextmanager
    def running(*_):
        yield None

    class Generator:
        def __init__(self, *_): ...

        def run(self, workload, _):
            sent.append(workload)

    def measured(scenario, *_, **__):
        sent.append(scenario.workload)
        return made_up_run(scenario.name)

    monkeypatch.setattr("loadtest.compare.Generator", Generator)
    monkeypatch.setattr("loadtest.compare.run_scenario", measured)
    monkeypatch.setattr(Launch, "running", running)
    settings = CompareSettings(["grpo", "one"], scale=0.2, rounds=2, directory=tmp_path)
    launches = [Launch(peer_named("naive"))]

    found = compare(settings, launches, {"safety": models.safety}, tokenizer, lambda _: None)

    texts = [{text.whole for text in workload.texts} for workload in sent]
    assert len(set().union(*texts)) == sum(map(len, texts))
    assert list(map(len, texts)) == [8, 3, 24, 13] * 2
    assert len(found.runs["naive"]["grpo"]) == 2


@dataclass
class Servers:
    """A peer whose servers come up for so many models, and no more."""

    most: int
    peer: Peer = field(default_factory=lambda: peer_named("naive"))
    asked: list[int] = field(default_factory=list)

    @contextmanager
    def running(self, models):
        self.asked.append(len(models))
        if len(models) > self.most:
            raise PeerError("naive ended:\nno memory")
        yield Target(self.peer, (), {})


@pytest.fixture
def unsent(monkeypatch):
    """Nothing is sent: every run takes a second for its texts."""
    checked_by = []

    def measured(scenario, target, oracle, **_):
        checked_by.append(set(oracle.models))
        return made_up_run(scenario.name, texts_per_second=8.0)

    monkeypatch.setattr("loadtest.compare.run_scenario", measured)
    monkeypatch.setattr("loadtest.compare.warm_up", lambda *_: None)
    return checked_by


def test_where_two_servers_do_not_start_half_of_one_s_rate_stands_and_is_said(
    models, tokenizer, tmp_path, unsent
):
    settings = CompareSettings(["one", "two"], scale=0.02, rounds=2, directory=tmp_path)
    both = {"safety": models.safety, "helpfulness": models.helpfulness}
    one, two = Servers(most=1), Servers(most=2)

    halved = compare(settings, [one], both, tokenizer, lambda _: None)
    assert unsent == [{"safety"}] * 4
    whole = compare(settings, [two], both, tokenizer, lambda _: None)
    assert unsent[4:] == [{"safety"}] * 2 + [{"safety", "helpfulness"}] * 2

    assert one.asked == [1, 1, 2, 1, 1]  # two are tried once
    assert two.asked == [1, 1, 2, 2]
    rates = {name: runs[0].texts_per_second for name, runs in halved.runs["naive"].items()}
    assert rates == pytest.approx({"one": 8.0, "two": 4.0})
    assert "are half of one's texts/s" in halved.table()
    assert "no memory" in halved.table()
    assert halved.is_clean
    assert whole.halved == {}
    assert whole.runs["naive"]["two"][0].texts_per_second == pytest.approx(8.0)


def test_preparing_computes_the_true_rewards_and_starts_nothing(models, tokenizer, tmp_path):
    peer = Servers(most=0)
    settings = CompareSettings(["one"], scale=0.02, rounds=2, prepare=True, directory=tmp_path)

    assert compare(settings, [peer], {"safety": models.safety}, tokenizer, print).runs == {}
    assert peer.asked == []
    (known,) = json.loads((tmp_path / CACHE_NAME).read_text()).values()
    assert len(known) == 2


def test_kept_servers_are_started_once_for_all_rounds(models, tokenizer, tmp_path, unsent):
    one = Servers(most=1)
    settings = CompareSettings(["one"], scale=0.02, rounds=3, keep=True, directory=tmp_path)

    found = compare(settings, [one], {"safety": models.safety}, tokenizer, lambda _: None)

    assert one.asked == [1]
    assert len(found.runs["naive"]["one"]) == 3


def test_a_shape_without_times_of_its_own_brings_the_one_beside_it():
    asked = CompareSettings(["grpo", "staggered"]).shapes(1)

    assert [shape.name for shape in asked] == ["burst", "grpo", "staggered"]


@pytest.mark.parametrize(("shape", "said"), [("two", "helpfulness"), ("round", "grpo, mixed")])
def test_a_shape_that_can_not_be_run_is_said(models, tokenizer, shape, said):
    with pytest.raises(LoadTestError, match=said):
        compare(CompareSettings([shape]), [], {"safety": models.safety}, tokenizer, print)
