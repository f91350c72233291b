"""Angles by position are those of the trunk's rotary embedding."""

import torch
from torch import Tensor

from rm_core.engine.trunk.rotary import angles_by_position
from tests.models import make_model


@torch.inference_mode()
def test_a_position_has_the_embeddings_angle_in_any_row() -> None:
    trunk = make_model("llama").base_model
    hidden = torch.zeros(1, 32)
    positions = torch.tensor([5, 0, 200, 5, 95, 96])

    cos, sin = angles_by_position(trunk.rotary_emb, hidden, positions, 201)
    expected = trunk.rotary_emb(hidden[None], positions[None])

    assert torch.allclose(cos, expected[0][0], atol=1e-6)
    assert torch.allclose(sin, expected[1][0], atol=1e-6)
    for longest in (201, 640):
        again, _ = angles_by_position(trunk.rotary_emb, hidden, positions[:3], longest)
        assert torch.equal(again, cos[:3])


def test_every_block_shows_the_longest_position_and_none_beyond() -> None:
    """Some embeddings stretch their angles where any position is beyond a border."""
    shown: list[int] = []

    def rotary(hidden: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        del hidden
        shown.append(int(positions.max()))
        return positions[..., None].float(), positions[..., None].float()

    cos, _ = angles_by_position(rotary, torch.zeros(1, 2), torch.arange(150), 150)

    assert shown == [149, 149]
    assert torch.equal(cos[:, 0], torch.arange(150.0))
