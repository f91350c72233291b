"""The wire's models: strict in what is sent, lenient in what comes back."""

from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from rm_client import models, models_ppo
from rm_client.errors import InvalidRequest
from rm_client.models_base import ChatMessage, Prompt
from rm_client.wire import as_item

SENT = [
    ChatMessage,
    models.ResponseItem,
    models.StepsItem,
    models.GroupItem,
    models.MessagesItem,
    models.CompareItem,
    models.ScoreRequest,
    models.CompareRequest,
    models_ppo.BaselineOptions,
    models_ppo.ExpectVersion,
    models_ppo.WhitenOptions,
    models_ppo.PpoResponseItem,
    models_ppo.PpoMessagesItem,
    models_ppo.PpoRequest,
    models_ppo.StreamSnapshot,
]
PROMPT: TypeAdapter[str | list[ChatMessage]] = TypeAdapter(Prompt)


@pytest.mark.parametrize("raw", ["", "why?", [{"role": "user", "content": "why?"}]])
def test_a_prompt_is_a_text_or_a_chat(raw: object) -> None:
    assert PROMPT.dump_python(PROMPT.validate_python(raw), exclude_none=True) == raw


@pytest.mark.parametrize("raw", [None, 3, {}, {"role": "user", "content": "c"}, True])
def test_any_other_prompt_is_told_in_one_sentence(raw: object) -> None:
    with pytest.raises(ValidationError) as caught:
        PROMPT.validate_python(raw)

    (error,) = caught.value.errors()
    assert (error["type"], error["msg"]) == (
        "prompt_type",
        "A prompt is a string or a list of messages.",
    )


@pytest.mark.parametrize("raw", [[], ["text"], [{"role": "user"}], [{"role": "", "content": ""}]])
def test_a_chat_has_whole_messages(raw: object) -> None:
    with pytest.raises(ValidationError):
        PROMPT.validate_python(raw)


def test_by_default_nothing_within_a_text_is_asked_for_and_advantages_are_grpos() -> None:
    options = models.ScoreOptions()

    assert options.detail is None
    assert (options.step_separator, options.aggregation) == ("\n\n", "min")
    assert options.advantages == "grpo"


@pytest.mark.parametrize(
    "raw",
    [
        {"detail": "words"},
        {"detail": True},
        {"step_separator": ""},
        {"step_separator": "x" * 65},
        {"aggregation": "max"},
        {"advantages": "gae"},
        {"tokens": True},
    ],
)
def test_an_option_that_nobody_knows_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        models.ScoreOptions.model_validate(raw)


def test_an_offset_is_a_pair() -> None:
    tokens = {"ids": [1], "texts": ["a"], "rewards": [0.5]}
    steps = {"rewards": [0.5], "scores": [0.6], "aggregation": "min", "score": 0.6}

    models.TokenRewardsReply.model_validate({**tokens, "offsets": [[0, 1]]})
    models.StepRewardsReply.model_validate({**steps, "offsets": [[0, 1]]})
    with pytest.raises(ValidationError):
        models.TokenRewardsReply.model_validate({**tokens, "offsets": [[0]]})
    with pytest.raises(ValidationError):
        models.StepRewardsReply.model_validate({**steps, "offsets": [[0, 1, 2]]})


@pytest.mark.parametrize("model", SENT, ids=lambda model: model.__name__)
def test_what_is_sent_takes_no_unknown_field(model: type[BaseModel]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        model.model_validate({"no_such_field": 1})


def test_a_warning_that_this_version_does_not_know_is_let_pass() -> None:
    reply = {"selected": "safety", "selected_reward": 0.5, "num_tokens": 3, "warnings": ["new"]}
    assert models.ResponseReply.model_validate(reply).warnings == ["new"]


def test_what_comes_back_may_have_more_fields() -> None:
    reply = models.RewardReply.model_validate({"reward": 1.0, "score": 0.7, "new": [1]})
    assert reply == models.RewardReply(reward=1.0, score=0.7)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", '"0.5"', "null"])
def test_a_number_that_is_none_is_no_reward(number: str) -> None:
    with pytest.raises(ValidationError):
        models.RewardReply.model_validate_json(f'{{"reward": {number}, "score": "NaN"}}')


def test_an_error_about_a_text_does_not_show_it() -> None:
    with pytest.raises(ValidationError) as caught:
        models.ResponseItem.model_validate({"prompt": "p", "response": ["secret"]})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (models.ResponseItem, {"prompt": "p", "response": "secret \ud800"}),
        (models.GroupItem, {"prompt": "secret \ud800", "responses": ["r"]}),
        (models_ppo.PpoResponseItem, {"prompt": "p", "response": "r", "group": "secret \ud800"}),
    ],
)
def test_a_text_that_utf_8_cannot_carry_is_not_sent_nor_shown(
    model: type[BaseModel], fields: dict[str, Any]
) -> None:
    for value in (fields, model.model_validate(fields)):
        with pytest.raises(InvalidRequest, match="surrogate") as caught:
            as_item(model, value)
        assert "secret" not in str(caught.value)


def test_a_streams_snapshot_restores_exactly_what_it_was() -> None:
    reply = models_ppo.StreamReply(
        name="s",
        count=4.0,
        mean=0.1,
        m2=1 / 3,
        std=1 / 3,
        num_samples=4,
        version=3,
        generation=0,
        half_life=100.0,
        frozen=True,
        created=1.0,
        updated=2.0,
    )
    kept = reply.snapshot().model_dump(exclude_none=True)
    assert kept == {"count": 4.0, "mean": 0.1, "m2": 1 / 3, "half_life": 100.0, "frozen": True}
