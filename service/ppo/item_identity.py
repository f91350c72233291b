"""Whether an item that brings an id counted before is that item, or another under its name."""

import hashlib
from collections.abc import Sequence

from rm_client.models_ppo import PpoItem
from rm_core.rewards.ppo import NewSamples, PpoSample
from service.http.body import item_pointer, require_one_success
from service.results import ItemFailure

ITEM_ID_CONFLICT = "item_id_conflict"

# What an item says beside its text. It may differ: log-probabilities are a later policy's.
_BESIDE = {"logprobs", "ref_logprobs", "mask", "finished", "id", "group", "is_safety"}


def digest_of_text(item: PpoItem) -> bytes:
    """16 bytes of the prompt and response, or the messages, as they were sent."""
    # What is as by default is left out: a field that a later release adds changes no digest.
    text = item.model_dump_json(exclude=_BESIDE, exclude_defaults=True)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def without_conflicts(
    places: Sequence[PpoSample | ItemFailure], added: NewSamples | None
) -> list[PpoSample | ItemFailure]:
    """The places, with errors for items whose id was counted with another text.

    Raises:
        Problem: 422, no item is left.
    """
    if added is None or not added.conflicts:
        return list(places)
    left = [
        _conflict(place.index)
        if isinstance(place, PpoSample) and place.index in added.conflicts
        else place
        for place in places
    ]
    require_one_success([one for one in left if isinstance(one, ItemFailure)], len(left))
    return left


def _conflict(index: int) -> ItemFailure:
    return ItemFailure(
        ITEM_ID_CONFLICT,
        "This id was counted in its stream with another text; give each text an id of its own.",
        f"{item_pointer(index, alone=False)}/id",
    )
