"""The options of /score and what they add to its reply: rewards of tokens and steps, advantages."""

from typing import Annotated, Literal

from pydantic import Field

from rm_core.rewards import AdvantageKind, StepAggregation
from service.schemas.base import MAX_NAME_CHARACTERS, Strict

DetailKind = Literal["tokens", "steps"]
Offset = Annotated[list[int], Field(min_length=2, max_length=2)]


class ScoreOptions(Strict):
    """What a request to /score may ask for beside each response's reward."""

    detail: DetailKind | None = Field(
        default=None,
        description='"tokens": also the reward at every token of each response. "steps": also the '
        "reward at the end of every step. Causal models only; still one forward.",
    )
    step_separator: Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARACTERS)] = Field(
        default="\n\n",
        description='Ends a step where `detail` is "steps" and the item has no `steps` of its own; '
        "it belongs to the step before it. Blank steps are not counted.",
    )
    aggregation: StepAggregation = Field(
        default="min", description="How the steps' scores become one: `steps.score` of the reply."
    )
    advantages: AdvantageKind = Field(
        default="grpo",
        description='Of groups: "grpo" is (reward − mean) / √(std² + 1e-8), "grpo_no_std" is '
        'reward − mean (Dr. GRPO), "rloo" is the reward less the mean of the others.',
    )


class TokenRewardsReply(Strict):
    """A model's rewards at the tokens of one response, up to the position of `reward`.

    Lists of equal length. What ends a turn (EOS, the template's own) stands at the end, with the
    response's end as its offset; the last reward is the response's own.
    """

    ids: list[int] = Field(description="Token ids.")
    texts: list[str] = Field(
        description="The characters that each token stands for, or its name in the vocabulary if "
        "it has none. A character that is shared by tokens stands with each."
    )
    offsets: list[Offset] = Field(
        description="[first, last + 1): those characters in the response as it was sent."
    )
    rewards: list[float] = Field(description="The raw scalar of the model's head at each token.")


class StepRewardsReply(Strict):
    """A model's rewards at the ends of one response's steps; lists of equal length."""

    offsets: list[Offset] = Field(
        description="[first, last + 1): the step's characters in the response."
    )
    rewards: list[float] = Field(description="The raw scalar of the model's head at each end.")
    scores: list[float] = Field(description="σ of the calibrated rewards.")
    aggregation: StepAggregation
    score: float = Field(description="The steps' scores as one, by the aggregation.")
