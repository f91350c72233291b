"""The wire of /score, /compare and errors: the contract that the server and this client share.

What is sent is strict: no unknown field, nothing converted, finite numbers. What comes back may
hold fields that this version doesn't know; its numbers are finite. The descriptions are those of
the server's OpenAPI document.
"""

from typing import Annotated, Generic, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import TypeVar

from rm_client.models_base import (
    MAX_STOPS,
    ChatMessage,
    IsSafety,
    PromptItem,
    Received,
    Sent,
    StopToken,
    TextItem,
    examples,
    selected_has_a_reward,
)
from rm_client.turns import MAX_NAME_CHARACTERS

Role = Literal["safety", "helpfulness"]
Truncation = Literal["error", "prompt", "left"]
DetailKind = Literal["tokens", "steps"]
StepAggregation = Literal["min", "product", "last", "mean"]
AdvantageKind = Literal["grpo", "grpo_no_std", "rloo"]

Truncate = Annotated[
    Truncation,
    Field(
        description='What to do with a text that is too long: "error" refuses that item; "prompt" '
        "cuts the prompt's left and keeps the response and its EOS, and refuses a response that is "
        'too long by itself; "left" cuts that too, from its left.',
    ),
]


class ResponseItem(PromptItem):
    """One response to one prompt."""

    model_config = examples(
        {"prompt": "How do I bleed a radiator?", "response": "Turn the heating off, then …"}
    )

    response: str = Field(description="The policy's answer, which is scored.")
    is_safety: IsSafety = False


class StepsItem(PromptItem):
    """One response to one prompt, given step by step; each step gets rewards."""

    model_config = examples(
        {
            "prompt": "What is 12 · 12 + 6?",
            "steps": ["12 · 12 = 144.\n\n", "144 + 6 = 150.\n\n", "So it is 150."],
        }
    )

    steps: list[Annotated[str, Field(min_length=1)]] = Field(
        min_length=1,
        description="The response's parts. They are put end to end as they are, so each brings its "
        "own line breaks; its reward is read at the token that holds its last character.",
    )
    is_safety: IsSafety = False


class GroupItem(PromptItem):
    """Several responses to one prompt, as GRPO samples them."""

    model_config = examples(
        {
            "prompt": "Name a prime between 20 and 30.",
            "responses": ["23", "29 is one.", "I'd say 27."],
        }
    )

    responses: list[str] = Field(min_length=1, description="The answers, each scored by itself.")
    is_safety: IsSafety = False


class MessagesItem(TextItem):
    """A whole chat that ends with the assistant turn to be scored."""

    model_config = examples(
        {
            "messages": [
                {"role": "user", "content": "Is 27 prime?"},
                {"role": "assistant", "content": "No: 27 = 3 × 9."},
            ]
        }
    )

    messages: list[ChatMessage] = Field(
        min_length=2, description="The chat; its last turn is the assistant's, which is scored."
    )
    is_safety: IsSafety = False

    @model_validator(mode="after")
    def _ends_with_assistant(self) -> "MessagesItem":
        if self.messages[-1].role != "assistant":
            raise PydanticCustomError(
                "invalid_messages",
                "messages must end with an assistant turn: it is the response that is judged",
            )
        return self


ScoreItem = ResponseItem | StepsItem | GroupItem | MessagesItem


def score_item_model(raw: object) -> type[ScoreItem]:
    """Which form of a /score item `raw` means to be, by the fields it has.

    Choosing first keeps the errors about one form, where a plain union would report on all.
    """
    if isinstance(raw, dict) and "messages" in raw:
        return MessagesItem
    if isinstance(raw, dict) and "responses" in raw:
        return GroupItem
    if isinstance(raw, dict) and "steps" in raw:
        return StepsItem
    return ResponseItem


class CompareItem(PromptItem):
    """Two or more responses to one prompt, to be ranked."""

    model_config = examples(
        {"prompt": "Is 27 prime?", "responses": ["No: 27 = 3 × 9.", "Yes, it is prime."]}
    )

    responses: list[str] = Field(min_length=2, description="The answers to compare.")
    is_safety: IsSafety = False


class TextOptions(Sent):
    """How the texts of a request are read."""

    truncate: Truncate = "error"
    stop: list[StopToken] = Field(
        default=[],
        max_length=MAX_STOPS,
        description="The policy's own stop tokens (`<|im_end|>`), taken off the responses' ends "
        "before the reward model's own end of a turn is written.",
    )


class ScoreOptions(TextOptions):
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


class ScoreRequest(ScoreOptions):
    """The body of POST /score; a single item may also stand alone at the top level."""

    items: list[ScoreItem] = Field(min_length=1, description="What to score, each by itself.")


class CompareRequest(TextOptions):
    """The body of POST /compare; a single item may also stand alone at the top level."""

    items: list[CompareItem] = Field(min_length=1, description="Sets of responses to compare.")


Offset = Annotated[list[int], Field(min_length=2, max_length=2)]

# Open where it is read: a client must not fail because a newer server warns of something new.
TextWarning = Annotated[
    str,
    Field(
        json_schema_extra={
            "enum": [
                "missing_eos",
                "double_bos",
                "truncated",
                "response_truncated",
                "prompt_already_rendered",
                "response_changed",
                "dated_template",
                "unfinished_template",
                "no_safety_model",
            ]
        },
    ),
]


class TokenRewardsReply(Received):
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


class StepRewardsReply(Received):
    """A model's rewards at the ends of one response's steps; lists of equal length."""

    offsets: list[Offset] = Field(
        description="[first, last + 1): the step's characters in the response."
    )
    rewards: list[float] = Field(description="The raw scalar of the model's head at each end.")
    scores: list[float] = Field(description="σ of the calibrated rewards.")
    aggregation: StepAggregation
    score: float = Field(description="The steps' scores as one, by the aggregation.")


class RewardReply(Received):
    """One model's reward and score of a response."""

    reward: float = Field(description="The raw scalar of the model's head, unbounded.")
    score: float = Field(description="σ of the calibrated reward, between 0 and 1.")
    calibrated_reward: float | None = Field(
        default=None,
        description="The reward after the checkpoint's calibration; absent where that is the "
        "identity, so that it is `reward` itself.",
    )
    tokens: TokenRewardsReply | None = Field(
        default=None, description='/score with `detail: "tokens"`: of each token.'
    )
    steps: StepRewardsReply | None = Field(
        default=None, description='/score with `detail: "steps"`, or for `steps`: of each step.'
    )

    @property
    def calibrated(self) -> float:
        """The reward after the checkpoint's calibration, which may be the identity."""
        return self.reward if self.calibrated_reward is None else self.calibrated_reward


class ErrorReply(Received):
    """Why one item has no result; its neighbours are not affected."""

    code: str = Field(description="Stable name of what is wrong.", examples=["empty_text"])
    detail: str = Field(description="What is wrong and what to do about it.")
    pointer: str = Field(description="Where in the request (RFC 6901).", examples=["/items/3"])


class FailedReply(Received):
    """An item that could not be scored."""

    error: ErrorReply


class ResponseReply(Received):
    """The rewards and scores of one response."""

    safety: RewardReply | None = Field(default=None, description="Absent if not loaded.")
    helpfulness: RewardReply | None = Field(default=None, description="Absent if not loaded.")
    rewards: dict[str, RewardReply] = Field(
        default={}, description="Of further models, by name; absent where none is loaded."
    )
    selected: Role | None = Field(
        default=None,
        description="Whose reward the selection rule took; absent where neither is loaded.",
    )
    selected_reward: float | None = Field(
        default=None,
        description="The selected model's reward after its calibration, which is the identity "
        "unless the checkpoint carries one; σ of it is the selected score. Absent with `selected`.",
    )
    num_tokens: int = Field(description="Tokens that were read, the longest of the models'.")
    warnings: list[TextWarning] = Field(
        description="What the caller may want to know about the text as it was read: truncated "
        "(its left was cut), response_truncated (the response's own too), missing_eos (it doesn't "
        "end as a turn does), double_bos, prompt_already_rendered (it holds BOS or role tokens, "
        "and `rendered` was not said), response_changed (the chat template changed it), "
        "dated_template (today's date is in it), unfinished_template (the chat template writes "
        "nothing behind the response)."
    )

    _selected_has_a_reward = model_validator(mode="after")(selected_has_a_reward)

    @property
    def selected_score(self) -> float:
        """The selected model's score, in (0, 1).

        Raises:
            ValueError: nothing is selected: neither a safety nor a helpfulness model is loaded.
        """
        own = self.safety if self.selected == "safety" else self.helpfulness
        if own is None:
            raise ValueError(f"the reply selects {self.selected} and doesn't hold it")
        return own.score


class GroupReply(Received):
    """The rewards of one prompt's responses, and what GRPO makes of them."""

    responses: list[ResponseReply | FailedReply]
    mean: float | None = Field(description="Mean selected reward of the responses that succeeded.")
    std: float | None = Field(
        description="Their standard deviation with Bessel's correction; 0 for a single response."
    )
    advantages: list[float | None] = Field(
        description='Of each response, by the request\'s `advantages`; "grpo" is (selected reward '
        "− mean) / √(std² + 1e-8), the whitening of /ppo_reward. 0 for a single response, null "
        "where the response failed."
    )
    num_duplicates: int = Field(description="Responses that equal an earlier one to the letter.")
    duplicates: list[int] = Field(description="Their indices; the first of equals is not listed.")
    degenerate: bool | None = Field(
        description="True if std < 1e-4: the rewards are equal but for rounding, so that the group "
        "teaches nothing and its advantages are noise. Null where nothing is selected."
    )


ScoreResult = ResponseReply | GroupReply | FailedReply
"""What comes back for one item of /score."""

# The parameters are for type checkers, which can tell by the items what comes back for them.
ScoreResultT_co = TypeVar("ScoreResultT_co", bound=ScoreResult, default=ScoreResult, covariant=True)


class ScoreReply(Received, Generic[ScoreResultT_co]):
    """The reply of /score, in the order of the request."""

    items: list[ScoreResultT_co]


class RankingReply(Received):
    """One way to rank a prompt's responses. Indices count from 0; ties share a rank."""

    winner: int | None = Field(description="Index of the best response; null if the best tie.")
    ranking: list[int] = Field(
        description="Indices from best to worst; tied ones in the order of the request."
    )
    ranks: list[int] = Field(
        description="Place of each response: 1 is the best, ties share the better place (1 2 2 4)."
    )
    probabilities: list[list[float]] = Field(
        description="[a][b] is P(a ≻ b) = σ(r_a − r_b) by Bradley-Terry, on calibrated rewards."
    )


class ComparisonReply(RankingReply):
    """A prompt's responses ranked by the selected reward, and by each model.

    Where neither safety nor helpfulness is loaded only the further models' rankings are there.
    """

    winner: int | None = Field(default=None, description="By the selected reward.")
    ranking: list[int] = Field(default=[], description="By the selected reward.")
    ranks: list[int] = Field(default=[], description="By the selected reward.")
    probabilities: list[list[float]] = Field(default=[], description="By the selected reward.")

    safety: RankingReply | None = Field(default=None, description="Absent if not loaded.")
    helpfulness: RankingReply | None = Field(default=None, description="Absent if not loaded.")
    rewards: dict[str, RankingReply] = Field(
        default={}, description="By further models, by name; absent where none is loaded."
    )
    responses: list[ResponseReply] = Field(description="The rewards and scores of each response.")


ComparisonT_co = TypeVar(
    "ComparisonT_co",
    bound=ComparisonReply | FailedReply,
    default=ComparisonReply | FailedReply,
    covariant=True,
)


class CompareReply(Received, Generic[ComparisonT_co]):
    """The reply of /compare, in the order of the request."""

    items: list[ComparisonT_co]
