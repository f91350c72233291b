"""The choice of how adapters on one base are run together, tried like every other way."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from rm_core.checkpoint.heads import has_head_on_tokens
from rm_core.checkpoint.low_rank import without_adapter
from rm_core.engine.forward.base import Forward
from rm_core.engine.forward.choose import by_length_class, trunk_obstacle
from rm_core.engine.forward.keeping import keep_prefixes
from rm_core.engine.forward.self_test import Trial, told
from rm_core.engine.forward.side_by_side import OnBase, side_by_side_ways
from rm_core.engine.options import AS_LOADED, EngineOptions
from rm_core.engine.trunk.chunked import chunk_rows
from rm_core.engine.trunk.products.choose import choose_products


def choose_side_by_side(
    members: Sequence[OnBase],
    max_length: int,
    *,
    reduced: bool = False,
    options: EngineOptions = AS_LOADED,
) -> Forward | str:
    """The fastest way to run adapters together that gives each one's own rewards.

    Each text's rewards under each adapter are compared with those that transformers and peft give
    it alone.

    Args:
        members: adapters on one base, of which one may be the base without an adapter; at least
            one, the first an adapter.
        max_length: of texts, in tokens.
        reduced: whether the base was reduced in precision, so that ways round differently.
        options: what multiplies, and what the way may keep of texts.

    Returns:
        The forward, whose rewards' columns are the members' heads in order; or why there is none.
    """
    base = without_adapter(members[0].model)
    if not all(has_head_on_tokens(member.model) for member in members):
        return "a head reads the text as a whole"
    obstacle = trunk_obstacle(base)
    if obstacle is not None:
        return obstacle
    try:
        trials = [
            Trial.of(member.model, member.heads[1:], max_length, reduced=reduced)
            for member in members
        ]
    except Exception as error:  # models raise what they like
        return f"a text alone raised {told(error)}"
    trial, *others = trials
    if any(other.texts != trial.texts for other in others):
        return "the adapters don't read the same texts"
    trial = replace(trial, alone=torch.cat([each.alone for each in trials], dim=1))
    failures: list[str] = []
    products = choose_products(base, options, chunk_rows=chunk_rows(base.base_model))
    for way in side_by_side_ways(members, products):
        made = trial.tried(
            way.make,
            lambda made: torch.tensor(made.rewards(trial.texts)),
            way="side-by-side",
        )
        if not isinstance(made, str):
            made.reason = "; ".join([made.reason, *failures])
            made.products = way.products
            keep_prefixes(made, trial, options)
            return by_length_class(made, base, max_length)
        failures.append(f"not {way.name}, as {made}")
    return "; ".join(failures)
