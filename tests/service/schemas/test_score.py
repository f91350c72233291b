from typing import get_args

import pytest

from rm_client import models, models_ppo
from rm_client.models import (
    CompareItem,
    GroupItem,
    MessagesItem,
    ResponseItem,
    StepsItem,
    score_item_model,
)
from rm_client.models_base import ChatMessage
from rm_core import rewards, types
from rm_core.rewards import ppo
from rm_core.rewards.ppo import ShapingOptions
from rm_core.types import Dialogue, Message
from service.schemas.ppo import PpoEnvelope
from service.schemas.score import ScorableWireItem, ScoreEnvelope, to_prompt


@pytest.mark.parametrize(
    ("raw", "model"),
    [
        ({"prompt": "p", "response": "r"}, ResponseItem),
        ({"prompt": "p", "responses": []}, GroupItem),
        ({"messages": []}, MessagesItem),
        ({"prompt": "p", "steps": []}, StepsItem),
        ({}, ResponseItem),
        (None, ResponseItem),
        ([], ResponseItem),
    ],
)
def test_the_form_of_an_item_is_told_by_its_fields(raw, model):
    assert score_item_model(raw) is model


def test_every_form_stands_for_its_dialogues_and_points_back_into_itself():
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}]
    single, steps, group, compared, chat = (
        ScorableWireItem(item)
        for item in (
            ResponseItem(prompt="p", response="r"),
            StepsItem(prompt="p", steps=["a. ", "b."]),
            GroupItem(prompt="p", responses=["a", "b"]),
            CompareItem(prompt="p", responses=["a", "b"]),
            MessagesItem.model_validate({"messages": turns}),
        )
    )

    assert single.dialogues() == [Dialogue("p", "r")]
    assert steps.dialogues() == [Dialogue("p", "a. b.", read_at=(3, 5))]
    assert group.dialogues() == [Dialogue("p", "a"), Dialogue("p", "b")]
    assert compared.dialogues() == group.dialogues()
    assert chat.dialogues() == [Dialogue((Message("user", "q"),), "r")]
    assert single.pointer_of(0, "response") == "/response"
    assert single.pointer_of(0, "elsewhere") == ""
    assert steps.pointer_of(0, "response") == "/steps"
    assert steps.pointer_of(0, "prompt") == "/prompt"
    assert steps.pointer_of(0, "elsewhere") == ""
    for several in (group, compared):
        assert several.pointer_of(1, "response") == "/responses/1"
        assert several.pointer_of(1, "prompt") == "/prompt"
    assert chat.pointer_of(0, "response") == "/messages/1/content"
    assert chat.pointer_of(0, "prompt") == "/messages"


def test_a_prompt_is_a_text_or_a_chat():
    chat = [ChatMessage(role="system", content="short"), ChatMessage(role="user", content="why?")]

    assert to_prompt("why?") == "why?"
    assert to_prompt(chat) == (Message("system", "short"), Message("user", "why?"))


@pytest.mark.parametrize(
    ("wire", "core"),
    [
        (models.Role, types.Role),
        (models.StepAggregation, rewards.StepAggregation),
        (models.AdvantageKind, rewards.AdvantageKind),
        (models_ppo.KLEstimator, rewards.KLEstimator),
        (models_ppo.RewardClipPreset, rewards.RewardClipPreset),
        (models_ppo.WhitenMode, ppo.WhitenMode),
    ],
)
def test_the_wire_offers_what_the_core_can_do(wire, core):
    assert get_args(wire) == get_args(core)


def test_the_wire_documents_every_warning_of_a_text():
    schema = models.ResponseReply.model_json_schema()["properties"]["warnings"]

    assert set(get_args(types.TextWarning)) <= set(schema["items"]["enum"])
    assert all(name in schema["description"] for name in get_args(types.TextWarning))


def test_the_wire_cuts_texts_in_every_way_of_the_core():
    assert set(get_args(types.Truncation)) == set(get_args(models.Truncation))


def test_options_that_the_wire_leaves_out_are_the_cores_own():
    assert PpoEnvelope(items=[1]).shaping == ShapingOptions()
    assert models_ppo.DEFAULT_BETA == rewards.DEFAULT_BETA
    assert models_ppo.DEFAULT_KL_CLIP == rewards.DEFAULT_KL_CLIP


@pytest.mark.parametrize(
    "raw",
    [
        {"prompt": "p", "responses": ["a", "b"], "is_safety": 1},
        {"prompt": "p", "responses": ["a", "b"], "is_safety": "true"},
        {"prompt": "p", "responses": ["a", 3]},
        {"prompt": b"p", "responses": ["a", "b"]},
        {"prompt": [], "responses": ["a", "b"]},
        {"prompt": [{"role": "", "content": "c"}], "responses": ["a", "b"]},
        {"prompt": [{"role": "r" * 65, "content": "c"}], "responses": ["a", "b"]},
        {"prompt": [{"role": "r", "content": "c", "colour": "n"}], "responses": ["a", "b"]},
    ],
)
def test_nothing_is_converted_and_nothing_unknown_is_taken(raw):
    with pytest.raises(ValueError, match="validation error"):
        CompareItem.model_validate(raw)


@pytest.mark.parametrize("raw", [{"detail": "words"}, {"truncate": "middle"}, {"colour": "red"}])
def test_the_items_of_an_envelope_are_not_looked_at_but_its_options_are(raw):
    assert ScoreEnvelope.model_validate({"items": [1]}).items == [1]
    with pytest.raises(ValueError, match="validation error"):
        ScoreEnvelope.model_validate({"items": [1], **raw})
