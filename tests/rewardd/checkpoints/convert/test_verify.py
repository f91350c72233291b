"""Equal is equal to a hundred-thousandth, and nothing that is no number is equal."""

import pytest

from rewardd.checkpoints.convert.verify import agreement, readable_probes
from rm_core.errors import CheckpointError
from rm_core.text.contract import PositionContract
from rm_core.text.encoder import TextEncoder
from tests.models import EOS, PAD, make_tokenizer
from training.errors import ScoresDiffer


def test_a_constant_that_had_to_go_is_no_difference() -> None:
    found = agreement([3.5, -1.0], [2.0, -2.5], dropped_constant=1.5)

    assert (found.probes, found.largest_difference, found.largest_reward) == (2, 0.0, 2.5)


@pytest.mark.parametrize(
    ("expected", "found"),
    [([0.5], [0.50002]), ([100.0], [100.002]), ([0.5], [float("nan")]), ([float("nan")], [0.5])],
    ids=["small", "large", "result is no number", "source is no number"],
)
def test_what_differs_is_refused(expected: list[float], found: list[float]) -> None:
    with pytest.raises(ScoresDiffer):
        agreement(expected, found, dropped_constant=0.0)


def test_large_rewards_are_compared_relatively() -> None:
    assert agreement([100.0], [100.0005], dropped_constant=0.0).largest_difference > 1e-5


def test_one_probe_ends_in_eos_and_messages_need_a_template() -> None:
    contract = PositionContract("concatenate", "never", "never", "last_token", 512)
    plain = TextEncoder(make_tokenizer(), contract, pad_token_id=PAD)

    probes = readable_probes(plain, "</s>")

    assert [text.input_ids[-1] == EOS for _, text in probes].count(True) == 1
    assert all(isinstance(probe.prompt, str) for probe, _ in probes)


def test_a_model_that_can_read_no_probe_can_not_be_compared() -> None:
    contract = PositionContract("concatenate", "never", "never", "last_token", 2)
    tiny = TextEncoder(make_tokenizer(), contract, pad_token_id=PAD)

    with pytest.raises(CheckpointError, match="none of the probe"):
        readable_probes(tiny, None)
