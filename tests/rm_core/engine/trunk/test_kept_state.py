"""What a model keeps from one forward to the next is seen, and set back."""

import torch
from torch import Tensor, nn

from rm_core.engine.trunk.kept_state import KeptState


class Forgetful(nn.Module):
    """A model that keeps nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 1)
        self.register_buffer("table", torch.zeros(3))
        self.mode = "sparse"


def test_a_model_that_keeps_nothing_has_not_changed() -> None:
    model = Forgetful()
    state = KeptState(model)

    model.inner(torch.ones(2))

    assert not state.has_changed()


def test_every_kind_of_change_is_seen_and_set_back() -> None:
    def switch_mode(model: Forgetful) -> None:
        model.mode = "full"

    def remember_length(model: Forgetful) -> None:
        model.longest = 7

    def replace_part(model: Forgetful) -> None:
        model.inner = nn.Linear(2, 1)

    def replace_buffer(model: Forgetful) -> None:
        model.register_buffer("table", torch.zeros(9))

    def write_into_buffer(model: Forgetful) -> None:
        model.get_buffer("table")[1] = 5.0

    for change in (switch_mode, remember_length, replace_part, replace_buffer, write_into_buffer):
        model = Forgetful()
        part, state = model.inner, KeptState(model)

        change(model)

        assert state.has_changed(), change.__name__
        state.restore()
        assert not state.has_changed(), change.__name__
        assert (model.mode, model.inner) == ("sparse", part)
        assert torch.equal(model.get_buffer("table"), torch.zeros(3))
        assert not hasattr(model, "longest")


def test_what_a_part_of_a_part_keeps_is_seen_too() -> None:
    class Counting(nn.Module):
        count = 0

        def forward(self, x: Tensor) -> Tensor:
            self.count += 1
            return x * self.count

    model = nn.Sequential(nn.Sequential(Counting()))
    state, one = KeptState(model), torch.ones(1)
    first = model(one)

    assert state.has_changed()
    state.restore()
    assert torch.equal(model(one), first)
