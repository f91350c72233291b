"""The loss of an update, however it falls into forward passes and processes."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from training.losses import OBJECTIVES, Rewards


class UpdateLoss:
    """Σ_k λ_k · (Σ_i w_i ℓ_i / Σ_i w_i), both sums over everything that objective k scores.

    The sums run over the whole update: a mean of the means of its forward passes would weigh what
    stands in small ones more.

    Args:
        weights: λ of every objective by name.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._objectives = [(name, OBJECTIVES[name], weight) for name, weight in weights.items()]
        self._pending = self._nothing()

    def totals(self, batches: Iterable[Mapping[str, Tensor]]) -> Tensor:
        """What everything that each objective scores weighs together, (objectives,), float32."""
        totals = torch.zeros(len(self._objectives))
        for batch in batches:
            each = [objective.weights(batch).sum() for _, objective, _ in self._objectives]
            totals = totals.to(each[0].device) + torch.stack(each)
        return totals

    def of(self, batch: Mapping[str, Tensor], rewards: Rewards, totals: Tensor) -> Tensor:
        """One batch's share of the update's loss, a scalar.

        Args:
            batch: of `ExampleCollator`.
            rewards: what the model gave for it.
            totals: of the update; where an objective scores nothing in it, its loss is 0.
        """
        loss = rewards.at_reads.new_zeros(())
        for (name, objective, weight), total in zip(self._objectives, totals, strict=True):
            weights = objective.weights(batch)
            weighted = (weights * objective.terms(batch, rewards)).sum()
            # Nothing scored sums to 0, which any divisor but 0 leaves alone.
            loss = loss + weight * weighted / torch.where(total > 0, total, 1.0)
            self._add({_loss_of(name): weighted, _weight_of(name): weights.sum()})
        self._note(batch, rewards)
        return loss

    def sums(self) -> dict[str, float]:
        """What the figures of the next log line are made of, under names that never change."""
        sums = {name: float(value) for name, value in self._pending.items()}
        self._pending = self._nothing()
        return sums

    def figures(self, sums: Mapping[str, float]) -> dict[str, float]:
        """What a log line says: each over what it is a mean of, absent where that is nothing."""
        found: dict[str, float] = {}
        if sums["pairs"]:
            found |= {name: sums[name] / sums["pairs"] for name in _PAIR_FIGURES}
        if sums.get("steps"):
            found["step_accuracy"] = sums["steps_right"] / sums["steps"]
        if len(self._objectives) > 1:
            found |= {
                _loss_of(name): sums[_loss_of(name)] / sums[_weight_of(name)]
                for name, _, _ in self._objectives
                if sums[_weight_of(name)]
            }
        return found

    def _note(self, batch: Mapping[str, Tensor], rewards: Rewards) -> None:
        with torch.no_grad():
            chosen = rewards.of_responses[batch["chosen"]]
            rejected = rewards.of_responses[batch["rejected"]]
            gap = chosen - rejected
            self._add(
                {
                    "pairs": torch.tensor(float(len(gap))),
                    "accuracy": (gap > 0).sum() + 0.5 * (gap == 0).sum(),
                    "chosen": chosen.sum(),
                    "rejected": rejected.sum(),
                    "margin": gap.sum(),
                }
            )
            if "steps" in self._pending:
                good = rewards.at_reads[batch["step_read"]] > 0
                right = good == (batch["step_label"] > 0.5)
                self._add({"steps": torch.tensor(float(len(good))), "steps_right": right.sum()})

    def _add(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            # Stays on its device until a log line wants it: reading it would wait for the device.
            self._pending[name] = self._pending[name] + value.detach()

    def _nothing(self) -> dict[str, Tensor]:
        names = ["pairs", *_PAIR_FIGURES]
        for name, objective, _ in self._objectives:
            names += [_loss_of(name), _weight_of(name)]
            if objective.target == "steps":
                names += ["steps", "steps_right"]
        return {name: torch.zeros(()) for name in names}


_PAIR_FIGURES = ("accuracy", "chosen", "rejected", "margin")


def _loss_of(objective: str) -> str:
    return f"loss_{objective}"


def _weight_of(objective: str) -> str:
    return f"weight_{objective}"
