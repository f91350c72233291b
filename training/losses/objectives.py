"""What a training minimises: a weighted set of objectives, and what of a batch each one reads.

Every objective gives one term for each thing that it scores, and each thing's weight; its loss is
the weighted mean over all of an update. The losses are added up by the weights of the set.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rm_core.checkpoint.manifest import HeadKind
from rm_core.errors import ConfigurationError
from training.losses.labels import regression_terms, safety_auxiliary_terms, step_terms
from training.losses.pairwise import bradley_terry_terms, hinge_terms
from training.losses.rankings import kwise_terms, listnet_terms, plackett_luce_terms
from training.losses.regularisers import centering_terms, l2_terms
from training.losses.shapes import sums_of_runs
from training.losses.tokens import token_terms
from training.types import Target

Batch = Mapping[str, Tensor]
"""What `ExampleCollator` makes of comparisons, beside the layout's own."""


@dataclass(frozen=True, slots=True)
class Rewards:
    """What the model gave for a batch.

    Attributes:
        at_reads: at every position that was read, (reads,), float32.
        of_responses: of every response, as it would be served, (responses,).
    """

    at_reads: Tensor
    of_responses: Tensor

    @classmethod
    def of(cls, at_reads: Tensor, batch: Batch) -> "Rewards":
        """Rewards of responses from those at the positions read in them.

        Args:
            at_reads: (reads,), responses in order.
            batch: with `read_counts`, (responses,), and `read_share`, (reads,): by how much each
                read counts in its response's reward.
        """
        return cls(at_reads, sums_of_runs(at_reads * batch["read_share"], batch["read_counts"]))


@dataclass(frozen=True, slots=True)
class Objective:
    """One objective of a set.

    Attributes:
        target: what it scores.
        terms: a loss for each thing scored, (n,).
        weights: what each of them weighs within the update, (n,).
        regularises: whether it only holds rewards in place, and teaches nothing alone.
        reads_margins: whether a pair's margin changes its term.
    """

    target: Target
    terms: Callable[[Batch, Rewards], Tensor]
    weights: Callable[[Batch], Tensor]
    regularises: bool = False
    reads_margins: bool = False

    @property
    def head(self) -> HeadKind | None:
        """The head that it needs; None where it goes with every head that gives one reward."""
        return "per_token" if self.target in {"tokens", "steps"} else None


def _pair_weights(batch: Batch) -> Tensor:
    return batch["weight"]


def _ones_like(name: str) -> Callable[[Batch], Tensor]:
    return lambda batch: torch.ones_like(batch[name], dtype=torch.float32)


def _chosen_and_rejected(batch: Batch, rewards: Rewards) -> tuple[Tensor, Tensor]:
    of_responses = rewards.of_responses
    return of_responses[batch["chosen"]], of_responses[batch["rejected"]]


def _in_lists(batch: Batch, rewards: Rewards) -> Tensor:
    """Rewards as rankings hold them, (lists, places); filling repeats the batch's first."""
    return rewards.of_responses[batch["places"]]


def _one_a_list(batch: Batch) -> Tensor:
    return torch.ones_like(batch["places"][:, 0], dtype=torch.float32)


def _bradley_terry(batch: Batch, rewards: Rewards) -> Tensor:
    return bradley_terry_terms(*_chosen_and_rejected(batch, rewards), batch["margin"])


def _hinge(batch: Batch, rewards: Rewards) -> Tensor:
    return hinge_terms(*_chosen_and_rejected(batch, rewards), batch["margin"])


def _kwise(batch: Batch, rewards: Rewards) -> Tensor:
    return kwise_terms(*_chosen_and_rejected(batch, rewards), batch["pair_counts"])


def _listnet(batch: Batch, rewards: Rewards) -> Tensor:
    relevance = -batch["ranks"].to(torch.float32)  # one reward unit from rank to rank
    return listnet_terms(_in_lists(batch, rewards), relevance, batch["listed"])


def _plackett_luce(batch: Batch, rewards: Rewards) -> Tensor:
    return plackett_luce_terms(_in_lists(batch, rewards), batch["ranks"], batch["listed"])


def _regression(batch: Batch, rewards: Rewards) -> Tensor:
    return regression_terms(rewards.of_responses[batch["rated"]], batch["rating"])


def _token_bradley_terry(batch: Batch, rewards: Rewards) -> Tensor:
    at_reads = rewards.at_reads
    chosen, rejected = at_reads[batch["token_chosen"]], at_reads[batch["token_rejected"]]
    return token_terms(chosen, rejected, batch["token_counts"], batch["margin"])


def _steps(batch: Batch, rewards: Rewards) -> Tensor:
    return step_terms(rewards.at_reads[batch["step_read"]], batch["step_label"])


def _safety_auxiliary(batch: Batch, rewards: Rewards) -> Tensor:
    return safety_auxiliary_terms(rewards.of_responses[batch["labelled"]], batch["is_safe"])


def _centering(batch: Batch, rewards: Rewards) -> Tensor:
    return centering_terms(*_chosen_and_rejected(batch, rewards))


def _l2(_: Batch, rewards: Rewards) -> Tensor:
    return l2_terms(rewards.of_responses)


OBJECTIVES: Mapping[str, Objective] = {
    "bradley_terry": Objective("pairs", _bradley_terry, _pair_weights, reads_margins=True),
    "hinge": Objective("pairs", _hinge, _pair_weights, reads_margins=True),
    "kwise": Objective("pairs", _kwise, _ones_like("pair_counts")),
    "listnet": Objective("rankings", _listnet, _one_a_list),
    "plackett_luce": Objective("rankings", _plackett_luce, _one_a_list),
    "regression": Objective("ratings", _regression, _ones_like("rated")),
    "token_bradley_terry": Objective(
        "tokens", _token_bradley_terry, _pair_weights, reads_margins=True
    ),
    "steps": Objective("steps", _steps, _ones_like("step_read")),
    "safety_auxiliary": Objective("is_safe", _safety_auxiliary, _ones_like("labelled")),
    "centering": Objective("pairs", _centering, _pair_weights, regularises=True),
    "l2": Objective("responses", _l2, lambda batch: batch["response_weight"], regularises=True),
}
"""Every objective by the name that the training configuration uses."""


def targets_of(weights: Mapping[str, float]) -> frozenset[Target]:
    """What a set of objectives learns from; without what its regularisers alone would look at."""
    chosen = (OBJECTIVES[name] for name in weights)
    return frozenset(objective.target for objective in chosen if not objective.regularises)


def reads_margins(weights: Mapping[str, float]) -> bool:
    """Whether margins make a difference to a set of objectives."""
    return any(OBJECTIVES[name].reads_margins for name in weights)


def parse_objectives(value: Any) -> dict[str, float]:
    """A weighted set from any of its spellings.

    Args:
        value: a name; a list of names and of "name=weight"; or a table of weights by name.
    """
    if isinstance(value, Mapping):
        items = list(value.items())
    elif isinstance(value, str):
        items = [_named(value)]
    elif isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        items = [_named(item) for item in value]
    else:
        raise ConfigurationError(
            "`objectives` must be a table of weights by name, or a list of names"
        )
    weights: dict[str, float] = {}
    for name, weight in items:
        if name in weights:
            raise ConfigurationError(f"objective `{name}` is given twice")
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise ConfigurationError(f"the weight of objective `{name}` must be a number")
        weights[name] = float(weight)
    check_objectives(weights)
    return weights


def check_objectives(weights: Mapping[str, float]) -> None:
    """Refuse a set that can't be trained on."""
    for name, weight in weights.items():
        if name not in OBJECTIVES:
            raise ConfigurationError(
                f"`objective` must be one of {', '.join(OBJECTIVES)}, or several of them"
            )
        if not (math.isfinite(weight) and weight > 0):
            raise ConfigurationError(
                f"the weight of objective `{name}` must be a finite number greater than 0; leave "
                "it out to switch it off"
            )
    if not targets_of(weights):
        raise ConfigurationError(
            "the objectives hold rewards in place and learn nothing from the data; add one that "
            "does, for example bradley_terry"
        )


def check_head(weights: Mapping[str, float], head: HeadKind) -> None:
    """Refuse a head that the objectives can't train."""
    within = [name for name in weights if OBJECTIVES[name].head == "per_token"]
    if within and head != "per_token":
        raise ConfigurationError(
            f"objective `{within[0]}` trains rewards within a response; set `head` to per_token"
        )
    if head == "per_token" and not within:
        names = [name for name, objective in OBJECTIVES.items() if objective.head == "per_token"]
        raise ConfigurationError(
            f"no objective trains the rewards of a per_token head; add {' or '.join(names)}"
        )


def _named(item: str) -> tuple[str, float]:
    name, equals, weight = item.partition("=")
    if not equals:
        return name.strip(), 1.0
    try:
        return name.strip(), float(weight)
    except ValueError as error:
        raise ConfigurationError(
            f"objective `{name.strip()}` needs a number behind its equals sign"
        ) from error
