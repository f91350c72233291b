"""The wire of /ppo_reward and /streams as typed models; see `rm_client.models` for the rules."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from rm_client.models import (
    FailedReply,
    MessagesItem,
    Received,
    ResponseItem,
    RewardReply,
    Role,
    Sent,
    Text,
    Truncation,
)

WhitenMode = Literal["running", "frozen", "batch", "group", "none"]
KLEstimator = Literal["k1", "k2", "k3"]

STREAM_NAME_PATTERN = r"^[A-Za-z0-9._-]{1,64}$"
DEFAULT_STREAM = "default"
DEFAULT_BETA = 0.01

_MAX_COEFFICIENT = 1e6
_MAX_SAMPLES = 2.0**53

StreamName = Annotated[str, Field(pattern=STREAM_NAME_PATTERN)]
Coefficient = Annotated[float, Field(ge=0.0, le=_MAX_COEFFICIENT)]
Moderate = Annotated[float, Field(ge=-1e100, le=1e100)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]
HalfLife = Annotated[float | None, Field(gt=0.0, le=_MAX_SAMPLES)]


def _identifier(value: str | int) -> str | int:
    if isinstance(value, str) and not 1 <= len(value) <= 255:
        raise ValueError("1 to 255 characters are expected")
    return value


Identifier = Annotated[Text | int, AfterValidator(_identifier)]


class BaselineOptions(Sent):
    """Reference statistics that a new stream starts from; `weight` is the samples it counts for."""

    mean: Moderate
    std: Annotated[float, Field(gt=0.0, le=1e50)]
    weight: Annotated[float, Field(ge=2.0, le=_MAX_SAMPLES)]


class WhitenOptions(Sent):
    """How the selected rewards are brought to a common scale.

    Attributes:
        mode: running merges this request into the stream and uses the stream's statistics; frozen
            uses them as they are; batch is this request alone; group each group alone; none leaves
            the logit as it is.
        update: false uses the running statistics without adding to them, as evaluation should.
        shift_mean: false scales and leaves the mean where it was.
        baseline: what a stream starts from that this request creates.
        half_life: of a stream that this request creates, in samples.
    """

    mode: WhitenMode = "running"
    update: bool = True
    shift_mean: bool = True
    baseline: BaselineOptions | Literal["checkpoint"] | None = "checkpoint"
    half_life: HalfLife = None


class ExpectVersion(Sent):
    """What the caller believes to be answered by; the server refuses (412) where it differs.

    Attributes:
        safety: the safety weights' sha256 in hex, or its beginning, as `info()` tells it.
        helpfulness: likewise.
        stream: the stream's version before this call; 0: a new one.
        generation: the stream's generation, which only reset and restore change.
    """

    safety: Digest | None = None
    helpfulness: Digest | None = None
    stream: Annotated[int, Field(ge=0)] | None = None
    generation: Annotated[int, Field(ge=0)] | None = None


class _PpoFields(Sent):
    logprobs: list[float] | None = None
    ref_logprobs: list[float] | None = None
    mask: list[bool | Literal[0, 1]] | None = None
    finished: bool | None = None
    id: Identifier | None = None
    group: Identifier | None = None

    @model_validator(mode="after")
    def _log_probabilities_come_together(self) -> Self:
        lengths = {
            len(values)
            for values in (self.logprobs, self.ref_logprobs, self.mask)
            if values is not None
        }
        if (self.logprobs is None) != (self.ref_logprobs is None):
            raise ValueError("logprobs and ref_logprobs come together or not at all")
        if self.mask is not None and self.logprobs is None:
            raise ValueError("a mask needs the logprobs and ref_logprobs that it masks")
        if len(lengths) > 1:
            raise ValueError("logprobs, ref_logprobs and mask must be equally long")
        return self


class PpoResponseItem(ResponseItem, _PpoFields):
    """One response to one prompt, with what the policy thought of its tokens.

    Attributes:
        logprobs: ln π_θ of each sampled response token; without it there is no KL penalty.
        ref_logprobs: ln π_0 of the same tokens.
        mask: true (1) where a token counts; absent: all count.
        finished: false if the response was cut before its EOS.
        id: counts once in its stream, also across requests.
        group: which items belong together in group mode; by default those of equal prompt.
    """


class PpoMessagesItem(MessagesItem, _PpoFields):
    """A whole chat that ends with the assistant turn to be scored."""


PpoItem = PpoResponseItem | PpoMessagesItem


class PpoRequest(Sent):
    """The body of POST /ppo_reward.

    Attributes:
        items: the responses, each by itself.
        stream: whose statistics whiten the rewards.
        beta: coefficient of the KL penalty, reward units per nat.
        kl_estimator: k1 = d, k2 = d²/2, k3 = e^(−d) − 1 + d with d = logprobs − ref_logprobs.
        whiten: how the rewards are brought to a common scale.
        missing_eos_penalty: taken off the whitened reward of an item with finished false.
        expect_version: refuse to answer by anything else.
        truncate: what to do with a text that is too long.
    """

    items: list[PpoItem] = Field(min_length=1)
    truncate: Truncation = "error"
    stream: StreamName = DEFAULT_STREAM
    beta: Coefficient = DEFAULT_BETA
    kl_estimator: KLEstimator = "k1"
    whiten: WhitenOptions = WhitenOptions()
    missing_eos_penalty: Coefficient = 0.0
    expect_version: ExpectVersion | None = None


class PpoItemReply(Received):
    """One response's shaped reward with every step on the way to it.

    Attributes:
        logit: the selected model's calibrated reward.
        whitened: the logit on the scale of the reply's `statistics`.
        kl: Σ of the per-token estimates, nats; None without log-probabilities.
        penalty: β·KL.
        missing_eos_penalty: what an unfinished response lost.
        reward: whitened − penalty − missing_eos_penalty.
        token_rewards: −β·KL per token, the last unmasked one also has the rest; sums to `reward`.
    """

    id: str | int | None = None
    safety: RewardReply | None = None
    helpfulness: RewardReply | None = None
    selected: Role
    logit: float
    whitened: float
    kl: float | None
    penalty: float
    missing_eos_penalty: float
    reward: float
    token_rewards: list[float] | None
    num_tokens: int
    warnings: list[str]


class GroupStatistics(Received):
    """One group of group mode; `items` are indices into the request."""

    group: str | int | None
    items: list[int]
    count: int
    mean: float
    std: float | None


class StatisticsReply(Received):
    """The statistics that whitened a request.

    Attributes:
        count: samples, the baseline's weight included.
        std: unbiased; None below two samples.
        version: of the stream; grows with every change.
        generation: of the stream; grows with every reset.
        scaled: false: the logits passed without scaling.
        num_merged: rewards of this request that were merged.
        num_duplicates: items whose id had been counted before.
    """

    mode: WhitenMode
    stream: str | None
    count: float
    mean: float | None
    std: float | None
    version: int | None
    generation: int | None
    scaled: bool
    num_merged: int
    num_duplicates: int
    groups: list[GroupStatistics] | None = None


class PpoReply(Received):
    """The reply of /ppo_reward, in the order of the request."""

    items: list[PpoItemReply | FailedReply]
    statistics: StatisticsReply


class StreamSnapshot(Sent):
    """The body of PUT /streams/{name}; without statistics only the configuration changes.

    Attributes:
        count: samples behind the statistics.
        mean: of them.
        m2: Σ (x − mean)²; exact, where std would be rounded.
        std: unbiased; read only where m2 is absent.
        half_life: samples after which the past counts half; None forgets nothing.
        frozen: true: the stream is used, never updated.
    """

    count: Annotated[float, Field(ge=0.0, le=_MAX_SAMPLES)] | None = None
    mean: Moderate | None = None
    m2: Annotated[float, Field(ge=0.0, le=1e250)] | None = None
    std: Annotated[float, Field(ge=0.0, le=1e100)] | None = None
    half_life: HalfLife = None
    frozen: bool = False
    name: Any = None
    num_samples: Any = None
    version: Any = None
    generation: Any = None
    created: Any = None
    updated: Any = None

    @model_validator(mode="after")
    def _statistics_are_whole(self) -> Self:
        given = [self.count is not None, self.mean is not None]
        spread = self.m2 is not None or self.std is not None
        if any(given) or spread:
            few = self.count is not None and self.count < 2.0
            if not all(given) or not (spread or few):
                raise ValueError("statistics are count, mean and one of m2 and std; all or none")
        return self


class StreamReply(Received):
    """A stream as it stands; times are Unix seconds."""

    name: str
    count: float
    mean: float
    m2: float
    std: float | None
    num_samples: int
    version: int
    generation: int
    half_life: float | None
    frozen: bool
    created: float
    updated: float

    def snapshot(self) -> StreamSnapshot:
        """What to keep with a trainer's checkpoint, and to give to `put_stream` on resuming."""
        return StreamSnapshot(
            count=self.count,
            mean=self.mean,
            m2=self.m2,
            half_life=self.half_life,
            frozen=self.frozen,
        )


class StreamsReply(Received):
    """Every stream, by name."""

    streams: list[StreamReply]
