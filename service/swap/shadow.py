"""Recent responses scored by another version, beside the one that serves."""

from collections.abc import Sequence

from rm_client.models_admin import SwapAgreement
from rm_core.engine.packing.offline import OfflineScorer
from rm_core.errors import EngineError, InputError
from rm_core.rewards.rule import ScoredItem, apply_reward_rule
from service.batching.pack_runner import outcome_of
from service.swap.agreement import agreement_of
from service.swap.recent_traffic import RecentItem
from service.versions.version import ModelVersion


def shadow_score(
    version: ModelVersion, items: Sequence[RecentItem], max_pack_tokens: int
) -> SwapAgreement | None:
    """Score what callers sent by a version that doesn't serve, and compare.

    Args:
        version: to be tried.
        items: what callers sent, and what they were given.
        max_pack_tokens: of one forward pass.

    Returns:
        How the two agree; None where the version could score none of them.
    """
    found = _scored(version, items, max_pack_tokens)
    both = [(item, found[index]) for index, item in enumerate(items) if index in found]
    if not both:
        return None
    after = apply_reward_rule(
        version.rule, [scored for _, scored in both], [item.is_safety for item, _ in both]
    )
    return agreement_of([item.scored for item, _ in both], after, num_failed=len(items) - len(both))


def _scored(
    version: ModelVersion, items: Sequence[RecentItem], max_pack_tokens: int
) -> dict[int, ScoredItem]:
    """What the version makes of the items, by their index; without those that it can't score."""
    packs = OfflineScorer[int](version.scorer, max_pack_tokens=max_pack_tokens)
    encoded = {}
    for index, item in enumerate(items):
        try:
            encoded[index] = version.scorer.encode(item.text, truncate=item.truncate)
        except InputError:
            continue
        packs.put(index, encoded[index], item.text.group_key)
    found: dict[int, ScoredItem] = {}
    while not packs.is_idle:
        for index, outcome in packs.run_next():
            if isinstance(outcome, EngineError):
                continue
            own = outcome_of(encoded[index], outcome)
            if isinstance(own, ScoredItem):
                found[index] = own
    return found
