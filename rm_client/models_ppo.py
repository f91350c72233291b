"""The wire of /ppo_reward and /streams; see `rm_client.models` for the rules."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from rm_client.models import (
    FailedReply,
    MessagesItem,
    ResponseItem,
    RewardReply,
    Role,
    TextOptions,
    TextWarning,
)
from rm_client.models_base import Received, Sent, examples

WhitenMode = Literal["running", "frozen", "batch", "group", "none"]
KLEstimator = Literal["k1", "k2", "k3"]
RewardClipPreset = Literal["openrlhf", "deepspeed_chat"]

STREAM_NAME_PATTERN = r"^[A-Za-z0-9._-]{1,64}$"
DEFAULT_STREAM = "default"
DEFAULT_BETA = 0.01
DEFAULT_KL_CLIP = 10.0

_MAX_COEFFICIENT = 1e6
_MAX_SAMPLES = 2.0**53

StreamName = Annotated[str, Field(pattern=STREAM_NAME_PATTERN, examples=["llama-ppo-1"])]
Moderate = Annotated[float, Field(ge=-1e100, le=1e100)]
Coefficient = Annotated[float, Field(ge=0.0, le=_MAX_COEFFICIENT)]
Bound = Annotated[float, Field(gt=0.0, le=_MAX_COEFFICIENT)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]
HalfLife = Annotated[
    float | None,
    Field(
        gt=0.0,
        le=_MAX_SAMPLES,
        description="Samples after which the past counts half; null forgets nothing. Each sample "
        "weighs 2^(−age/half_life), age being the samples after it, those of its own request "
        "included: the order of the items is their order in time.",
    ),
]


def _identifier(value: str | int) -> str | int:
    if isinstance(value, str) and not 1 <= len(value) <= 255:
        raise PydanticCustomError("identifier_length", "1 to 255 characters are expected")
    return value


Identifier = Annotated[str | int, AfterValidator(_identifier)]


# Open where they are read, as `TextWarning` is.
ShapingWarning = Annotated[
    str,
    Field(
        json_schema_extra={
            "enum": [
                "no_logprobs",
                "kl_clipped",
                "kl_clamped",
                "reward_clipped",
                "unscaled",
                "already_counted",
            ]
        }
    ),
]
RequestWarning = Annotated[str, Field(json_schema_extra={"enum": ["biased_kl_gradient"]})]


class BaselineOptions(Sent):
    """Reference statistics that a new stream starts from."""

    mean: Moderate
    std: Annotated[float, Field(gt=0.0, le=1e50)]
    weight: Annotated[
        float, Field(ge=2.0, le=_MAX_SAMPLES, description="Samples that the baseline counts for.")
    ]


class WhitenOptions(Sent):
    """How the selected rewards are brought to a common scale."""

    mode: WhitenMode = Field(
        default="running",
        description="running: this request is merged into the stream, then the stream's statistics "
        "are used. frozen: they are used as they are. batch: this request alone. group: each "
        "group alone (GRPO's advantage). none: the logit as it is.",
    )
    update: bool = Field(
        default=True,
        description="False uses the running statistics without adding to them, as evaluation "
        "should. The other modes never update.",
    )
    shift_mean: bool = Field(
        default=True, description="False scales and leaves the mean where it was."
    )
    baseline: BaselineOptions | Literal["checkpoint"] | None = Field(
        default="checkpoint",
        description="What a stream starts from that this request creates: the loaded checkpoints' "
        "own baseline, one given here, or nothing (null). An existing stream ignores it.",
    )
    half_life: HalfLife = Field(
        default=None, description="Of a stream that this request creates; see PUT /streams/{name}."
    )


class ExpectVersion(Sent):
    """What the caller believes to be answered by; what is absent is not compared."""

    safety: Digest | None = Field(
        default=None, description="The safety weights' sha256 or its beginning (GET /v1/info)."
    )
    helpfulness: Digest | None = Field(default=None, description="Likewise.")
    stream: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="The stream's version before this request; 0: a new one."
    )
    generation: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="The stream's generation, which only reset and restore change."
    )


class _PpoFields(Sent):
    logprobs: list[float] | None = Field(
        default=None,
        description="ln π_θ of each sampled response token; without it there is no KL penalty.",
    )
    ref_logprobs: list[float] | None = Field(
        default=None, description="ln π_0 of the same tokens, equally long."
    )
    mask: list[bool | Literal[0, 1]] | None = Field(
        default=None, description="True (1) where a token counts; equally long. Absent: all count."
    )
    finished: bool | None = Field(
        default=None, description="False if the response was cut before its EOS."
    )
    id: Identifier | None = Field(
        default=None,
        description="An id counts once in its stream, also across requests; with another text it "
        "is a conflict, that item's error `item_id_conflict`.",
    )
    group: Identifier | None = Field(
        default=None,
        description="Which items belong together in group mode; by default those of equal prompt.",
    )

    @model_validator(mode="after")
    def _log_probabilities_come_together(self) -> Self:
        if (self.logprobs is None) != (self.ref_logprobs is None):
            raise PydanticCustomError(
                "missing_logprobs", "logprobs and ref_logprobs come together or not at all"
            )
        if self.mask is not None and self.logprobs is None:
            raise PydanticCustomError(
                "missing_logprobs", "a mask needs logprobs and ref_logprobs that it masks"
            )
        return self


class PpoResponseItem(ResponseItem, _PpoFields):
    """One response to one prompt, with what the policy thought of its tokens."""

    model_config = examples(
        {
            "prompt": "How do I bleed a radiator?",
            "response": "Turn the heating off, then …",
            "is_safety": False,
            "logprobs": [-0.4, -1.1, -0.2],
            "ref_logprobs": [-0.5, -1.0, -0.2],
            "mask": [1, 1, 1],
            "finished": True,
            "id": "step-12/rank-0/3",
        }
    )


class PpoMessagesItem(MessagesItem, _PpoFields):
    """A whole chat that ends with the assistant turn to be scored."""


PpoItem = PpoResponseItem | PpoMessagesItem


def ppo_item_model(raw: object) -> type[PpoItem]:
    """Which form of an item `raw` means to be."""
    is_chat = isinstance(raw, dict) and "messages" in raw
    return PpoMessagesItem if is_chat else PpoResponseItem


class PpoRequest(TextOptions):
    """The body of POST /ppo_reward."""

    items: list[PpoItem] = Field(min_length=1, description="The responses, each by itself.")
    stream: StreamName = DEFAULT_STREAM
    beta: Coefficient = Field(
        default=DEFAULT_BETA,
        description="Coefficient of the KL penalty, reward units per nat (LLaMA-2: 0.01 for 7B "
        "and 13B, 0.005 for 34B and 70B).",
    )
    kl_estimator: KLEstimator = Field(
        default="k1",
        description="Schulman's estimators with d = logprobs − ref_logprobs: k1 = d, k2 = d²/2, "
        "k3 = e^(−d) − 1 + d. As part of the reward k1 alone gives the policy the gradient of "
        "KL(π_θ‖π_0); k2 and k3 belong in a loss, k3 also in a monitor.",
    )
    kl_clip: Bound | None = Field(
        default=DEFAULT_KL_CLIP,
        description="Bound of a token's KL estimate to either side, nats. Null: only what keeps it "
        "finite in float32 (|d| ≤ 1e6, k3's exponent ≤ 20).",
    )
    reward_clip: Bound | RewardClipPreset | None = Field(
        default=None,
        description="Bound of the whitened reward to either side, or a trainer's own by name: "
        "openrlhf 10, deepspeed_chat 5. Null: none but ±1e30, for float32.",
    )
    whiten: WhitenOptions = WhitenOptions()
    missing_eos_penalty: Coefficient = Field(
        default=0.0,
        description="Taken off the whitened reward of an item that says finished: false.",
    )
    expect_version: ExpectVersion | None = Field(
        default=None,
        description="Refuse (412) if other models answer or the stream is not as last seen; "
        "nothing is counted then.",
    )


class PpoItemReply(Received):
    """One response's shaped reward with every step on the way to it."""

    id: str | int | None = None
    safety: RewardReply | None = Field(default=None, description="Absent if not loaded.")
    helpfulness: RewardReply | None = Field(default=None, description="Absent if not loaded.")
    rewards: dict[str, RewardReply] = Field(
        default={}, description="Of further models, by name; absent where none is loaded."
    )
    selected: Role = Field(description="Whose reward the selection rule took.")
    logit: float = Field(description="LOGIT of the selected score: its calibrated reward.")
    whitened: float = Field(
        description="The logit on the scale of `statistics`, within reward_clip."
    )
    kl: float | None = Field(description="Σ of the per-token estimates, nats; null without any.")
    penalty: float = Field(description="β·KL.")
    missing_eos_penalty: float = Field(description="What an unfinished response lost.")
    reward: float = Field(description="whitened − penalty − missing_eos_penalty.")
    token_rewards: list[float] | None = Field(
        description="−β·KL_t per token; the last unmasked one also has the rest. Their sum is "
        "`reward`. Null without log-probabilities."
    )
    num_tokens: int = Field(description="Tokens that the reward models read.")
    warnings: list[TextWarning | ShapingWarning] = Field(
        description="Of the text as it was read; no_logprobs (no KL penalty); kl_clipped (kl_clip "
        "bounded a token's estimate); kl_clamped (without it, a log-ratio was beyond float32's "
        "reach); reward_clipped (reward_clip bounded `whitened`); unscaled (fewer than two values "
        "of statistics); already_counted (this id is in the stream's statistics)."
    )


class GroupStatistics(Received):
    """One group of group mode."""

    group: str | int | None = Field(description="As the items gave it; null: by equal prompt.")
    items: list[int] = Field(description="Indices of its items in the request.")
    count: int
    mean: float
    std: float | None


class StatisticsReply(Received):
    """The statistics that whitened this request, and what acted on all of it."""

    mode: WhitenMode
    stream: str | None = Field(description="Null where no stream was used.")
    count: float = Field(
        description="Samples, the baseline's weight included; Σ of their weights with a half-life."
    )
    mean: float | None
    std: float | None = Field(description="Unbiased; null below two samples.")
    version: int | None = Field(description="Of the stream; grows with every change.")
    generation: int | None = Field(description="Of the stream; grows with every reset.")
    scaled: bool = Field(description="False: the logits passed without scaling.")
    num_merged: int = Field(description="Rewards of this request that were merged.")
    num_duplicates: int = Field(description="Items whose id had been counted before.")
    num_kl_clipped: int = Field(default=0, description="Tokens whose estimate kl_clip bounded.")
    num_reward_clipped: int = Field(default=0, description="Items that reward_clip bounded.")
    warnings: list[RequestWarning] = Field(
        default=[],
        description="biased_kl_gradient (k2 or k3 in the reward; told once for each stream while "
        "the server runs).",
    )
    groups: list[GroupStatistics] | None = None


class PpoReply(Received):
    """The reply of /ppo_reward, in the order of the request."""

    items: list[PpoItemReply | FailedReply]
    statistics: StatisticsReply
    provenance: str = Field(
        default="",
        description="Whose rewards these are, as in X-Rewardd-Provenance: of a retry the models "
        "that answered first.",
    )


class StreamSnapshot(Sent):
    """The body of PUT /streams/{name}; what GET gives may be sent back as it is.

    Without statistics only the configuration changes, and the same snapshot again changes nothing.
    """

    model_config = examples({"count": 4096, "mean": 0.31, "std": 1.7})

    count: Annotated[float, Field(ge=0.0, le=_MAX_SAMPLES)] | None = None
    mean: Moderate | None = None
    m2: Annotated[float, Field(ge=0.0, le=1e250)] | None = Field(
        default=None, description="Σ (x − mean)²; exact, where std would be rounded."
    )
    std: Annotated[float, Field(ge=0.0, le=1e100)] | None = Field(
        default=None, description="Unbiased; read only where m2 is absent."
    )
    degrees_of_freedom: Annotated[float, Field(ge=0.0, le=_MAX_SAMPLES)] | None = Field(
        default=None, description="What m2 is divided by for std²; null: count − 1."
    )
    half_life: HalfLife = None
    frozen: bool = Field(default=False, description="True: the stream is used, never updated.")
    name: Any = Field(default=None, description="Read-only, ignored.")
    num_samples: Any = Field(default=None, description="Read-only, ignored.")
    version: Any = Field(default=None, description="Read-only, ignored.")
    generation: Any = Field(default=None, description="Read-only, ignored.")
    created: Any = Field(default=None, description="Read-only, ignored.")
    updated: Any = Field(default=None, description="Read-only, ignored.")

    @model_validator(mode="after")
    def _statistics_are_whole(self) -> Self:
        given = [self.count is not None, self.mean is not None]
        spread = self.m2 is not None or self.std is not None
        if any(given) or spread or self.degrees_of_freedom is not None:
            few = self.count is not None and self.count < 2.0
            if not all(given) or not (spread or few):
                raise PydanticCustomError(
                    "incomplete_statistics",
                    "statistics are count, mean and one of m2 and std; send all or none",
                )
        return self


class StreamReply(Received):
    """A stream as it stands."""

    name: str
    count: float = Field(
        description="Samples, the baseline's weight included; Σ of their weights with a half-life."
    )
    mean: float
    m2: float = Field(description="Σ w·(x − mean)²; w is 1 without a half-life.")
    degrees_of_freedom: float | None = Field(
        default=None,
        description="What m2 is divided by for std²: Σw − Σw²/Σw; null where every sample weighs "
        "1 and it is count − 1.",
    )
    std: float | None = Field(description="Unbiased; null below two samples.")
    num_samples: int = Field(description="Rewards merged since the last reset or restore.")
    version: int
    generation: int
    half_life: float | None
    frozen: bool
    created: float = Field(description="Unix time, seconds.")
    updated: float = Field(description="Unix time, seconds.")

    def snapshot(self) -> StreamSnapshot:
        """What to keep with a trainer's checkpoint, and to give to `put_stream` on resuming."""
        return StreamSnapshot(
            count=self.count,
            mean=self.mean,
            m2=self.m2,
            degrees_of_freedom=self.degrees_of_freedom,
            half_life=self.half_life,
            frozen=self.frozen,
        )


class StreamsReply(Received):
    """Every stream, by name."""

    streams: list[StreamReply]
