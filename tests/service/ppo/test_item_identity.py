"""Whether two items are the same text under one id."""

from typing import Any

import pytest

from rm_client.models_ppo import PpoMessagesItem, PpoResponseItem
from rm_core.rewards.ppo import NewSamples
from service.ppo.item_identity import digest_of_text, without_conflicts
from service.problems import Problem
from service.results import ItemFailure

ITEM = {"prompt": "p", "response": "r"}
CHAT = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "r"}]


def digest(**fields: Any) -> bytes:
    return digest_of_text(PpoResponseItem.model_validate(ITEM | fields))


def test_what_is_beside_the_text_makes_no_other() -> None:
    beside = {"id": "x", "group": "g", "finished": False, "is_safety": True}
    thought = {"logprobs": [-1.0], "ref_logprobs": [-2.0], "mask": [1]}

    assert digest(**beside, **thought) == digest() == digest(rendered=False)


def test_another_prompt_response_or_reading_is_another_text() -> None:
    chat = PpoMessagesItem.model_validate({"messages": CHAT})
    texts = {digest(), digest(prompt="q"), digest(response="s"), digest(rendered=True)}

    assert len(texts | {digest_of_text(chat)}) == 5


def test_without_any_item_left_the_request_is_refused() -> None:
    failure = ItemFailure("empty_text", "The text is empty.")
    assert without_conflicts([failure], None) == [failure]
    assert without_conflicts([failure], NewSamples()) == [failure]

    with pytest.raises(Problem) as caught:
        without_conflicts([failure], NewSamples(conflicts=frozenset({1})))
    assert caught.value.status == 422
