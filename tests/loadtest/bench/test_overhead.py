import pytest

from loadtest.bench.overhead import Overhead, measure_overhead
from loadtest.peers import peer_named
from loadtest.servers import Launch
from loadtest.settings import OverheadSettings


def test_the_server_is_measured_beside_the_engine_on_the_same_texts(models, tokenizer):
    settings = OverheadSettings(
        rounds=1, groups=2, responses=3, prompt_tokens=20, short_texts=3, loaded_texts=6
    )

    found = measure_overhead(
        Launch(peer_named("rewardd"), threads=1), models.safety, tokenizer, settings, lambda _: None
    )

    assert found.loaded is not None
    assert found.loaded.outcomes["ok"] == 6
    assert not [why for why in found.unclean if "late" not in why]
    assert min(found.engine + found.grouped + found.singles + found.bare_ms) > 0
    assert "over HTTP, a request a group" in found.table()
    assert found.to_json()["added_ms"] == found.added_ms


def test_shares_are_taken_within_a_round():
    found = Overhead(
        engine=[10.0, 20.0, 40.0],
        grouped=[9.0, 10.0, 40.0],
        singles=[9.0, 9.0, 36.0],
        bare_ms=[1.0, 2.0, 3.0],
        one_ms=[2.0, 5.0, 5.0],
    )

    assert found.added_ms == pytest.approx([1.0, 3.0, 2.0])
    assert "| ÷ engine alone |  | 0.90 (0.50–1.00) |" in found.table()
    assert "| added | ms | 2.0 (1.0–3.0) |" in found.table()
