"""The size of a request: counted text by text, refused as soon as it is too much."""

from typing import Any

import pytest

from rm_core.types import Encoded, EncodedItem, ReadPosition
from service.batching.limits import RequestSize, SchedulerLimits
from service.errors import DetailTooLarge, RequestTooLarge
from tests.service.rig import LIMITS


def size(**limits: Any) -> RequestSize:
    return RequestSize(SchedulerLimits(**{**LIMITS, **limits}))


def text(tokens: int, rewards: int = 0) -> EncodedItem:
    places = tuple(ReadPosition(0, 0, 1, "w") for _ in range(rewards))
    return EncodedItem({"safety": Encoded(tuple(range(tokens)), 0, None, (), places)})


def test_a_request_may_be_as_large_as_its_bounds():
    within = size(max_request_tokens=10, max_reply_rewards=4)
    within.add([text(4, 2), text(6, 2)])

    assert (within.tokens, within.rewards) == (10, 4)


def test_what_is_over_a_bound_is_refused_with_its_whole_size_or_what_it_has_come_to():
    with pytest.raises(RequestTooLarge, match=r"holds 12 tokens; one request takes at most 10"):
        size(max_request_tokens=10).add([text(6), text(6)])
    with pytest.raises(DetailTooLarge, match=r"hold 6 rewards"):
        size(max_reply_rewards=4).add([text(3, 3), text(3, 3)])

    by_parts = size(max_request_tokens=10)
    by_parts.add([text(6)], more_may_come=True)
    with pytest.raises(RequestTooLarge, match=r"at least 12 tokens"):
        by_parts.add([text(6)], more_may_come=True)
