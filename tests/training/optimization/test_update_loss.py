import pytest
import torch

from training.losses import Rewards
from training.optimization.update_loss import UpdateLoss


def batch(chosen: list[int], rejected: list[int], rated: list[int]) -> dict[str, torch.Tensor]:
    count = 4
    return {
        "read_counts": torch.ones(count, dtype=torch.long),
        "read_share": torch.ones(count),
        "chosen": torch.tensor(chosen, dtype=torch.long),
        "rejected": torch.tensor(rejected, dtype=torch.long),
        "margin": torch.zeros(len(chosen)),
        "weight": torch.full((len(chosen),), 0.5),
        "rated": torch.tensor(rated, dtype=torch.long),
        "rating": torch.zeros(len(rated)),
        "step_read": torch.tensor(rated, dtype=torch.long),
        "step_label": torch.ones(len(rated)),
    }


def rewards(values: list[float], of: dict[str, torch.Tensor]) -> Rewards:
    return Rewards.of(torch.tensor(values, requires_grad=True), of)


FIRST, SECOND = batch([0, 2], [1, 3], [0]), batch([0], [1], [1, 2, 3])
OF_FIRST, OF_SECOND = [1.0, 0, 2, -1], [0.5, 1, 2, -3]


def test_the_shares_of_an_update_s_forward_passes_add_up_to_the_means_over_all_of_it() -> None:
    loss = UpdateLoss({"bradley_terry": 2.0, "regression": 0.1})
    totals = loss.totals([FIRST, SECOND])
    assert totals.tolist() == [1.5, 4.0]
    shares = [
        loss.of(FIRST, rewards(OF_FIRST, FIRST), totals).item(),
        loss.of(SECOND, rewards(OF_SECOND, SECOND), totals).item(),
    ]
    gaps = torch.tensor([1.0, 3.0, -0.5])
    pairs = -torch.sigmoid(gaps).log().mean()
    squares = (1 + 1 + 4 + 9) / 4
    assert sum(shares) == pytest.approx(2 * pairs.item() + 0.1 * squares)


def test_an_objective_that_judges_nothing_in_an_update_costs_nothing_and_is_differentiable() -> (
    None
):
    loss = UpdateLoss({"bradley_terry": 1.0, "regression": 1.0})
    empty = batch([], [], [])
    leaf = torch.tensor(OF_FIRST, requires_grad=True)
    found = loss.of(empty, Rewards.of(leaf, empty), loss.totals([empty]))
    found.backward()
    assert found.item() == 0
    assert leaf.grad is not None
    assert leaf.grad.tolist() == [0, 0, 0, 0]


def test_a_log_line_tells_means_over_everything_since_the_last_and_begins_anew() -> None:
    loss = UpdateLoss({"bradley_terry": 1.0, "steps": 1.0})
    for one, values in ((FIRST, OF_FIRST), (SECOND, OF_SECOND)):
        loss.of(one, rewards(values, one), loss.totals([one]))
    figures = loss.figures(loss.sums())
    assert figures["accuracy"] == pytest.approx(2 / 3)
    assert figures["margin"] == pytest.approx((1 + 3 - 0.5) / 3)
    assert figures["step_accuracy"] == pytest.approx(3 / 4)  # rewards 1, 1, 2, −3; all good steps
    gaps = torch.tensor([1.0, 3.0, -0.5])
    assert figures["loss_bradley_terry"] == pytest.approx(-torch.sigmoid(gaps).log().mean().item())
    assert loss.figures(loss.sums()) == {}


def test_the_sums_have_the_same_names_in_every_process_whatever_it_has_seen() -> None:
    idle, busy = (UpdateLoss({"bradley_terry": 1.0, "steps": 1.0}) for _ in range(2))
    busy.of(FIRST, rewards(OF_FIRST, FIRST), busy.totals([FIRST]))
    assert list(idle.sums()) == list(busy.sums())


def test_equal_rewards_count_half_in_training_s_accuracy_too() -> None:
    loss = UpdateLoss({"bradley_terry": 1.0})
    loss.of(FIRST, rewards([1.0, 1.0, 1.0, 1.0], FIRST), loss.totals([FIRST]))
    assert loss.figures(loss.sums())["accuracy"] == 0.5
