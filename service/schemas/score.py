"""What travels over the wire of /score and /compare: strict pydantic models with examples.

Requests are validated by these models item by item (see `service.http.body`); replies are built as
plain values (see `rm_core.rewards.rule`) and documented by these models, which the tests hold them
to.
"""

from itertools import accumulate
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from rm_core.types import Dialogue, Role, Truncation
from service.schemas.base import ChatMessage, IsSafety, Prompt, Strict, to_prompt
from service.schemas.options import ScoreOptions, StepRewardsReply, TokenRewardsReply


class ResponseItem(Strict):
    """One response to one prompt."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"prompt": "How do I bleed a radiator?", "response": "Turn the heating off, then …"}
            ]
        }
    )

    prompt: Prompt
    response: str = Field(description="The policy's answer, which is judged.")
    is_safety: IsSafety = False

    def dialogues(self) -> list[Dialogue]:
        """The one dialogue."""
        return [Dialogue(to_prompt(self.prompt), self.response)]

    def pointer_of(self, index: int, field: str) -> str:  # noqa: ARG002 (one dialogue)
        """Where in the item the dialogue's `field` stands; "" for the item itself."""
        return f"/{field}" if field in ("prompt", "response") else ""


class StepsItem(Strict):
    """One response to one prompt, given step by step; each step gets rewards."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "prompt": "What is 12 · 12 + 6?",
                    "steps": ["12 · 12 = 144.\n\n", "144 + 6 = 150.\n\n", "So it is 150."],
                }
            ]
        }
    )

    prompt: Prompt
    steps: list[Annotated[str, Field(min_length=1)]] = Field(
        min_length=1,
        description="The response's parts. They are put end to end as they are, so each brings its "
        "own line breaks; its reward is read at the token that holds its last character.",
    )
    is_safety: IsSafety = False

    def dialogues(self) -> list[Dialogue]:
        """The one dialogue, read at the steps' ends too."""
        ends = tuple(accumulate(len(step) for step in self.steps))
        return [Dialogue(to_prompt(self.prompt), "".join(self.steps), read_at=ends)]

    def pointer_of(self, index: int, field: str) -> str:  # noqa: ARG002 (one dialogue)
        """Where in the item the dialogue's `field` stands."""
        return {"prompt": "/prompt", "response": "/steps"}.get(field, "")


class _ResponsesOfOnePrompt(Strict):
    """What a group and a comparison share."""

    prompt: Prompt
    responses: list[str] = Field(min_length=1, description="The answers, each judged by itself.")
    is_safety: IsSafety = False

    def dialogues(self) -> list[Dialogue]:
        """One dialogue per response."""
        prompt = to_prompt(self.prompt)
        return [Dialogue(prompt, response) for response in self.responses]

    def pointer_of(self, index: int, field: str) -> str:
        """Where in the item dialogue `index`'s `field` stands."""
        return "/prompt" if field == "prompt" else f"/responses/{index}"


class GroupItem(_ResponsesOfOnePrompt):
    """Several responses to one prompt, as GRPO samples them."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "prompt": "Name a prime between 20 and 30.",
                    "responses": ["23", "29 is one.", "I'd say 27."],
                }
            ]
        }
    )

    prompt: Prompt
    responses: list[str] = Field(min_length=1, description="The answers, each judged by itself.")
    is_safety: IsSafety = False


class MessagesItem(Strict):
    """A whole chat that ends with the assistant turn to be scored."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "messages": [
                        {"role": "user", "content": "Is 27 prime?"},
                        {"role": "assistant", "content": "No: 27 = 3 × 9."},
                    ]
                }
            ]
        }
    )

    messages: list[ChatMessage] = Field(
        min_length=2, description="The chat; its last turn is the assistant's, which is judged."
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

    def dialogues(self) -> list[Dialogue]:
        """The one dialogue: the last turn in the light of those before."""
        prompt = tuple(message.to_message() for message in self.messages[:-1])
        return [Dialogue(prompt, self.messages[-1].content)]

    def pointer_of(self, index: int, field: str) -> str:  # noqa: ARG002 (one dialogue)
        """Where in the item the dialogue's `field` stands."""
        return f"/messages/{len(self.messages) - 1}/content" if field == "response" else "/messages"


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


class CompareItem(_ResponsesOfOnePrompt):
    """Two or more responses to one prompt, to be ranked."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"prompt": "Is 27 prime?", "responses": ["No: 27 = 3 × 9.", "Yes, it is prime."]}
            ]
        }
    )

    responses: list[str] = Field(min_length=2, description="The answers to compare.")


Truncate = Annotated[
    Truncation,
    Field(
        description='What to do with a text that is too long: "error" refuses that item; "prompt" '
        "cuts the prompt's left and keeps the response and its EOS.",
    ),
]


class Envelope(Strict):
    """What surrounds the items of a request; the items themselves are validated one by one."""

    items: list[Any] = Field(min_length=1, description="What to judge, each by itself.")
    truncate: Truncate = "error"


class ScoreEnvelope(Envelope, ScoreOptions):
    """What surrounds the items of /score."""


class ScoreRequest(ScoreOptions):
    """The body of POST /score; a single item may also stand alone at the top level."""

    items: list[ScoreItem] = Field(min_length=1, description="What to judge, each by itself.")
    truncate: Truncate = "error"


class CompareRequest(Strict):
    """The body of POST /compare; a single item may also stand alone at the top level."""

    items: list[CompareItem] = Field(min_length=1, description="Sets of responses to compare.")
    truncate: Truncate = "error"


class RewardReply(Strict):
    """One model's judgement."""

    reward: float = Field(description="The raw scalar of the model's head, unbounded.")
    score: float = Field(description="σ of the calibrated reward, between 0 and 1.")
    tokens: TokenRewardsReply | None = Field(
        default=None, description='/score with `detail: "tokens"`: of each token.'
    )
    steps: StepRewardsReply | None = Field(
        default=None, description='/score with `detail: "steps"`, or for `steps`: of each step.'
    )


class ErrorReply(Strict):
    """Why one item has no result; its neighbours are not affected."""

    code: str = Field(description="Stable name of what is wrong.", examples=["empty_text"])
    detail: str = Field(description="What is wrong and what to do about it.")
    pointer: str = Field(description="Where in the request (RFC 6901).", examples=["/items/3"])


class FailedReply(Strict):
    """An item that could not be scored."""

    error: ErrorReply


class ResponseReply(Strict):
    """The judgement of one response."""

    safety: RewardReply | None = Field(default=None, description="Absent if not loaded.")
    helpfulness: RewardReply | None = Field(default=None, description="Absent if not loaded.")
    selected: Role = Field(description="Whose reward the selection rule took.")
    selected_reward: float = Field(
        description="The selected model's reward after its calibration, which is the identity "
        "unless the checkpoint carries one; σ of it is the selected score."
    )
    num_tokens: int = Field(description="Tokens that were read, the longer of the two models'.")
    warnings: list[Literal["missing_eos", "double_bos", "truncated"]] = Field(
        description="What the caller may want to know about the text as it was read."
    )


class GroupReply(Strict):
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
    degenerate: bool = Field(
        description="True if std < 1e-4: the rewards are equal but for rounding, so that the group "
        "teaches nothing and its advantages are noise."
    )


class ScoreReply(Strict):
    """The reply of /score, in the order of the request."""

    items: list[ResponseReply | GroupReply | FailedReply]


class RankingReply(Strict):
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
    """A prompt's responses ranked by the selected reward, and by each model."""

    safety: RankingReply | None = Field(default=None, description="Absent if not loaded.")
    helpfulness: RankingReply | None = Field(default=None, description="Absent if not loaded.")
    responses: list[ResponseReply] = Field(description="The judgement of each response.")


class CompareReply(Strict):
    """The reply of /compare, in the order of the request."""

    items: list[ComparisonReply | FailedReply]


class ProblemItemReply(Strict):
    """One thing that is wrong, and where."""

    pointer: str = Field(examples=["/items/3/response"])
    code: str = Field(examples=["missing_field"])
    detail: str


class ProblemReply(Strict):
    """RFC 9457 problem document."""

    type: str = Field(examples=["urn:rewardd:problem:invalid_items"])
    title: str
    status: int
    code: str
    detail: str
    errors: list[ProblemItemReply] | None = None
    errors_left_out: int | None = None
