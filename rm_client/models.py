"""The wire of /score, /compare and errors as typed models; tests hold them to the server's OpenAPI.

What is sent is strict: no unknown field, nothing converted, finite numbers, text that UTF-8 can
carry. What comes back may hold fields that this version doesn't know; its numbers are finite.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Role = Literal["safety", "helpfulness"]
Truncation = Literal["error", "prompt"]
DetailKind = Literal["tokens", "steps"]
StepAggregation = Literal["min", "product", "last", "mean"]
AdvantageKind = Literal["grpo", "grpo_no_std", "rloo"]

_MAX_NAME_CHARACTERS = 64


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        # The message of that error would quote the text.
        raise ValueError("the text holds a lone surrogate, which UTF-8 can't carry") from None
    return text


Text = Annotated[str, AfterValidator(_encodable)]
Offset = Annotated[list[int], Field(min_length=2, max_length=2)]


class Sent(BaseModel):
    """What a caller sends: strict."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,  # a text may be private
    )


class Received(BaseModel):
    """What the server answers: further fields are let pass, numbers are finite."""

    model_config = ConfigDict(
        extra="ignore", frozen=True, allow_inf_nan=False, hide_input_in_errors=True
    )


class ChatMessage(Sent):
    """One turn of a chat."""

    role: Annotated[Text, Field(min_length=1, max_length=_MAX_NAME_CHARACTERS)]
    content: Text


Prompt = Text | Annotated[list[ChatMessage], Field(min_length=1)]


class ResponseItem(Sent):
    """One response to one prompt.

    Attributes:
        prompt: what the policy was asked: a text, or the chat before the response.
        response: the policy's answer, which is scored.
        is_safety: true if the prompt is known to be about safety: the safety reward is selected.
    """

    prompt: Prompt
    response: Text
    is_safety: bool = False


class GroupItem(Sent):
    """Several responses to one prompt, as GRPO samples them."""

    prompt: Prompt
    responses: list[Text] = Field(min_length=1)
    is_safety: bool = False


class MessagesItem(Sent):
    """A whole chat that ends with the assistant turn to be scored."""

    messages: list[ChatMessage] = Field(min_length=2)
    is_safety: bool = False

    @model_validator(mode="after")
    def _ends_with_assistant(self) -> "MessagesItem":
        if self.messages[-1].role != "assistant":
            raise ValueError("messages must end with an assistant turn: it is what is judged")
        return self


class StepsItem(Sent):
    """One response to one prompt, given step by step; each step gets rewards.

    Attributes:
        prompt: as in `ResponseItem`.
        steps: the response's parts, put end to end as they are.
        is_safety: as in `ResponseItem`.
    """

    prompt: Prompt
    steps: list[Annotated[Text, Field(min_length=1)]] = Field(min_length=1)
    is_safety: bool = False


ScoreItem = ResponseItem | StepsItem | GroupItem | MessagesItem


class CompareItem(Sent):
    """Two or more responses to one prompt, to be ranked."""

    prompt: Prompt
    responses: list[Text] = Field(min_length=2)
    is_safety: bool = False


class ScoreRequest(Sent):
    """The body of POST /score."""

    items: list[ScoreItem] = Field(min_length=1)
    truncate: Truncation = "error"
    detail: DetailKind | None = None
    step_separator: Annotated[Text, Field(min_length=1, max_length=_MAX_NAME_CHARACTERS)] = "\n\n"
    aggregation: StepAggregation = "min"
    advantages: AdvantageKind = "grpo"


class CompareRequest(Sent):
    """The body of POST /compare."""

    items: list[CompareItem] = Field(min_length=1)
    truncate: Truncation = "error"


class TokenRewardsReply(Received):
    """A model's rewards at the tokens of one response; lists of equal length.

    Attributes:
        ids: token ids.
        texts: the characters that each stands for, or its name if it has none.
        offsets: [first, last + 1) of those characters in the response.
        rewards: raw; the last one is the response's own.
    """

    ids: list[int]
    texts: list[str]
    offsets: list[Offset]
    rewards: list[float]


class StepRewardsReply(Received):
    """A model's rewards at the ends of one response's steps; lists of equal length.

    Attributes:
        offsets: [first, last + 1) of the step's characters in the response.
        rewards: raw.
        scores: σ of the calibrated rewards.
        aggregation: how the scores became one.
        score: that one.
    """

    offsets: list[Offset]
    rewards: list[float]
    scores: list[float]
    aggregation: StepAggregation
    score: float


class RewardReply(Received):
    """One model's judgement.

    Attributes:
        reward: raw.
        score: σ of the calibrated reward.
        tokens: with `detail="tokens"`, of each token.
        steps: with `detail="steps"`, or for a `StepsItem`, of each step.
    """

    reward: float
    score: float
    tokens: TokenRewardsReply | None = None
    steps: StepRewardsReply | None = None


class ErrorReply(Received):
    """Why one item has no result.

    Attributes:
        code: stable name of what is wrong ("empty_text").
        detail: what to do about it.
        pointer: where in the request (RFC 6901).
    """

    code: str
    detail: str
    pointer: str


class FailedReply(Received):
    """An item that could not be scored; its neighbours are not affected."""

    error: ErrorReply


class ResponseReply(Received):
    """The judgement of one response.

    Attributes:
        safety: the safety model's judgement; None if that model is not loaded.
        helpfulness: the helpfulness model's, likewise.
        selected: whose reward the selection rule took.
        selected_reward: that model's calibrated reward.
        num_tokens: tokens that were read.
        warnings: about the text as it was read: missing_eos, double_bos, truncated.
    """

    safety: RewardReply | None = None
    helpfulness: RewardReply | None = None
    selected: Role
    selected_reward: float
    num_tokens: int
    warnings: list[str]

    @property
    def selected_score(self) -> float:
        """The selected model's score, in (0, 1)."""
        own = self.safety if self.selected == "safety" else self.helpfulness
        if own is None:
            raise ValueError(f"the reply selects {self.selected} and doesn't hold it")
        return own.score


class GroupReply(Received):
    """The rewards of one prompt's responses, and what GRPO makes of them.

    Attributes:
        responses: one entry per response, in order.
        mean: of the selected rewards of the responses that succeeded.
        std: with Bessel's correction.
        advantages: as the request's `advantages` says; None where the response failed.
        num_duplicates: responses that equal an earlier one.
        duplicates: their indices.
        degenerate: whether the rewards are equal but for rounding.
    """

    responses: list[ResponseReply | FailedReply]
    mean: float | None
    std: float | None
    advantages: list[float | None]
    num_duplicates: int
    duplicates: list[int]
    degenerate: bool


class ScoreReply(Received):
    """The reply of /score, in the order of the request."""

    items: list[ResponseReply | GroupReply | FailedReply]


class RankingReply(Received):
    """One way to rank a prompt's responses; indices count from 0, ties share a rank.

    Attributes:
        winner: index of the best response; None if the best tie.
        ranking: indices from best to worst.
        ranks: place of each response, 1 is the best.
        probabilities: [a][b] is P(a ≻ b) by Bradley-Terry.
    """

    winner: int | None
    ranking: list[int]
    ranks: list[int]
    probabilities: list[list[float]]


class ComparisonReply(RankingReply):
    """A prompt's responses ranked by the selected reward, and by each model."""

    safety: RankingReply | None = None
    helpfulness: RankingReply | None = None
    responses: list[ResponseReply]


class CompareReply(Received):
    """The reply of /compare, in the order of the request."""

    items: list[ComparisonReply | FailedReply]


class ProblemItemReply(Received):
    """One thing that is wrong, and where."""

    pointer: str
    code: str
    detail: str


class ProblemReply(Received):
    """RFC 9457 problem document."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: list[ProblemItemReply] | None = None
    errors_left_out: int | None = None
