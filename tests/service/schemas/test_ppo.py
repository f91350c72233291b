from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from rm_client.models_ppo import (
    PpoMessagesItem,
    PpoRequest,
    PpoResponseItem,
    StreamSnapshot,
    ppo_item_model,
)
from service.schemas.ppo import PpoEnvelope
from service.schemas.score import ScorableWireItem

ITEM = {"prompt": "p", "response": "r"}


def test_the_defaults_are_the_papers() -> None:
    envelope = PpoEnvelope.model_validate({"items": [ITEM]})

    assert (envelope.stream, envelope.beta, envelope.kl_estimator) == ("default", 0.01, "k1")
    assert (envelope.whiten.mode, envelope.whiten.update) == ("running", True)
    assert envelope.whiten.shift_mean


REFUSED: list[tuple[type[BaseModel], dict[str, Any], list[dict[str, Any]]]] = [
    (
        PpoEnvelope,
        {"items": [ITEM]},
        [
            *({"stream": name} for name in ["", "a b", "../x", "a/b", "x" * 65, "é", "a\n"]),
            {"beta": -0.1},
            {"beta": "0.1"},
            {"beta": 1e9},
            {"kl_estimator": "k4"},
            {"kl_clip": 0.0},
            {"kl_clip": -10.0},
            {"kl_clip": 1e300},
            {"reward_clip": 0.0},
            {"reward_clip": "trlx"},
            {"whiten": {"mode": "magic"}},
            {"whiten": {"half_life": 0}},
            {"whiten": {"baseline": {"mean": 0, "std": 0, "weight": 10}}},
            {"whiten": {"baseline": "none"}},
            {"missing_eos_penalty": -1},
            {"unknown": 1},
            {"items": []},
        ],
    ),
    (
        PpoResponseItem,
        ITEM,
        [
            {"logprobs": [-1.0]},
            {"ref_logprobs": [-1.0]},
            {"mask": [1]},
            {"logprobs": [-1.0, None], "ref_logprobs": [-1.0, -1.0]},
            {"logprobs": ["-1"], "ref_logprobs": [-1.0]},
            {"logprobs": [float("nan")], "ref_logprobs": [-1.0]},
            {"logprobs": [-1.0], "ref_logprobs": [-1.0], "mask": [2]},
            {"id": ""},
            {"id": "x" * 256},
            {"id": 1.5},
            {"finished": 1},
            {"is_safety": "yes"},
            {"surprise": 1},
        ],
    ),
    (
        StreamSnapshot,
        {},
        [
            {"count": 5},
            {"mean": 1.0},
            {"std": 1.0},
            {"count": 5, "mean": 1.0},
            {"count": -1, "mean": 1.0, "std": 1.0},
            {"count": 5, "mean": 1.0, "std": -1.0},
            {"count": 5, "mean": 1e300, "std": 1.0},
            {"count": 5, "mean": 1.0, "std": 1.0, "degrees_of_freedom": -1.0},
            {"degrees_of_freedom": 4.0},
            {"half_life": 0},
            {"surprise": 1},
        ],
    ),
]


@pytest.mark.parametrize(
    ("model", "sound", "wrong"),
    [(model, sound, wrong) for model, sound, all_wrong in REFUSED for wrong in all_wrong],
)
def test_what_is_out_of_range_is_refused(
    model: type[BaseModel], sound: dict[str, Any], wrong: dict[str, Any]
) -> None:
    model.model_validate(sound)
    with pytest.raises(ValidationError):
        model.model_validate({**sound, **wrong})


def test_an_item_is_a_prompt_with_a_response_or_a_chat() -> None:
    chat = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}

    assert ppo_item_model(ITEM) is PpoResponseItem
    assert ppo_item_model(chat) is PpoMessagesItem
    (dialogue,) = ScorableWireItem(PpoMessagesItem.model_validate(chat)).dialogues()
    assert dialogue.response == "b"


def test_the_documented_example_is_valid() -> None:
    for example in PpoResponseItem.model_json_schema()["examples"]:
        PpoRequest.model_validate({"items": [example]})
