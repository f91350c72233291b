import pytest
from pydantic import ValidationError

from service.schemas.options import ScoreOptions, StepRewardsReply, TokenRewardsReply
from service.schemas.score import ScoreEnvelope


def test_by_default_nothing_within_a_text_is_asked_for_and_advantages_are_grpos() -> None:
    options = ScoreOptions()

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
def test_an_option_that_nobody_knows_is_refused(raw: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ScoreOptions.model_validate(raw)
    with pytest.raises(ValidationError):
        ScoreEnvelope.model_validate({"items": [1], **raw})


def test_an_offset_is_a_pair() -> None:
    tokens = {"ids": [1], "texts": ["a"], "rewards": [0.5]}
    steps = {"rewards": [0.5], "scores": [0.6], "aggregation": "min", "score": 0.6}

    TokenRewardsReply.model_validate({**tokens, "offsets": [[0, 1]]})
    StepRewardsReply.model_validate({**steps, "offsets": [[0, 1]]})
    with pytest.raises(ValidationError):
        TokenRewardsReply.model_validate({**tokens, "offsets": [[0]]})
    with pytest.raises(ValidationError):
        StepRewardsReply.model_validate({**steps, "offsets": [[0, 1, 2]]})
