"""Batches as transformers runs the model: rewards and states in the order of the texts."""

from pathlib import Path

import pytest
import torch

from rm_core.checkpoint.heads import head_of
from rm_core.checkpoint.load import load_reward_model
from rm_core.engine.forward.batched import BatchedForward
from rm_core.errors import ConfigurationError
from rm_core.types import Encoded
from tests.models import save_checkpoint


def texts_of(*lengths: int) -> list[Encoded]:
    generator = torch.Generator().manual_seed(3)
    rows = [torch.randint(0, 250, (n,), generator=generator).tolist() for n in lengths]
    return [Encoded(tuple(row), len(row) - 1) for row in rows]


def test_a_model_without_a_pad_token_is_run_all_the_same(tmp_path: Path) -> None:
    model = load_reward_model(str(save_checkpoint(tmp_path)), "safety").model
    texts = texts_of(20, 21)
    expected = BatchedForward(model, reason="").rewards(texts)

    model.config.pad_token_id = None

    assert BatchedForward(model, reason="").rewards(texts) == expected


def test_nothing_in_nothing_out(tmp_path: Path) -> None:
    forward = BatchedForward(
        load_reward_model(str(save_checkpoint(tmp_path)), "safety").model, reason=""
    )

    assert forward.rewards([]) == []
    assert forward.states([], []).shape == (0, 0)


def test_states_of_a_decoder_are_its_trunks_at_each_read_of_each_text(tmp_path: Path) -> None:
    model = load_reward_model(str(save_checkpoint(tmp_path)), "safety").model
    texts, reads = texts_of(5, 40, 9), [[4, 1], [39], [8, 0, 3]]
    with torch.inference_mode():
        alone = [model.base_model(input_ids=torch.tensor([text.input_ids]))[0][0] for text in texts]
    expected = torch.cat([states[own] for states, own in zip(alone, reads, strict=True)])

    found = BatchedForward(model, reason="").states(texts, reads)

    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("architecture", ["bert", "deberta-v2"])
def test_states_of_an_encoder_are_what_its_last_layer_turns_into_rewards(
    architecture: str, tmp_path: Path
) -> None:
    model = load_reward_model(str(save_checkpoint(tmp_path, architecture)), "safety").model
    padded, texts = BatchedForward(model, reason=""), texts_of(5, 40, 9)

    states = padded.states(texts, [[text.read_position] for text in texts])

    with torch.inference_mode():
        rewards = head_of(model)(states).tolist()
    assert rewards == [pytest.approx(row, abs=1e-6) for row in padded.rewards(texts)]
    with pytest.raises(ConfigurationError, match="as a whole"):
        padded.states(texts, [[0], [39], [8]])
