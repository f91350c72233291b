"""The values that travel between the parts: dialogues in, token ids between, rewards out.

Frozen and free of torch, so that any part may import them.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

ModelName = str
"""What a loaded reward model is called; the engine takes as many as there are names."""

Role = Literal["safety", "helpfulness"]
ROLES: tuple[Role, ...] = ("safety", "helpfulness")
"""The two names that mean something: to LLaMA-2's rule, the settings, the wire and training."""

ReadAt = Literal["end", "tokens"] | tuple[int, ...]
"""Where rewards are read: at the text's end alone; also at every token from the response's first
on; or also at the response's last token before each of these numbers of its characters."""

DType = Literal["auto", "float32", "bfloat16", "float16", "int8"]
"""Numbers of the forward pass; auto is float32 on the CPU and bfloat16 on CUDA."""

Truncation = Literal["error", "prompt", "left"]
"""What to do with an item that is too long: refuse it, cut the prompt's left, or cut the text's
left, of which the response's own is taken where the prompt does not suffice."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Dialogue:
    """What a reward model scores: a response in the light of its prompt.

    Attributes:
        prompt: the text that the policy was given, or the chat messages before the response.
        response: the policy's answer, to be scored; a stop token that ends it is not doubled.
        allow_empty: whether a response without text is scored, as a policy's samples may be, or
            refused.
        read_at: where rewards are read; beyond the end's only by causal models.
        rendered: whether a text prompt has been through a chat template: no template is applied
            then, and the response is appended as it stands.
        stops: the policy's own stop tokens, which are taken off the response's end.
    """

    prompt: str | tuple[Message, ...]
    response: str
    allow_empty: bool = False
    read_at: ReadAt = "end"
    rendered: bool = False
    stops: tuple[str, ...] = ()

    @property
    def group_key(self) -> Hashable:
        """Equal for inputs that share a prompt, which are cheaper together."""
        return self.prompt


@dataclass(frozen=True, slots=True)
class RenderedText:
    """A whole text as its template rendered it, special tokens written out; read as it stands.

    Attributes:
        text: prompt and response.
        num_prompt_characters: how many leading characters are the prompt's; None: unknown.
        add_special_tokens: whether BOS and EOS that the position contract wants are added where
            they are absent; never a second one.
        max_tokens: keep this many from the end, and BOS; None: the model's own limit.
        stops: the policy's own stop tokens, in whose place at the text's end the model's own end
            of a turn is written.
    """

    text: str
    num_prompt_characters: int | None = None
    add_special_tokens: bool = True
    max_tokens: int | None = None
    stops: tuple[str, ...] = ()

    @property
    def group_key(self) -> Hashable:
        """Equal for inputs that share a prompt, or where that is unknown the text's beginning."""
        known = self.num_prompt_characters
        return self.text[: _GROUPING_CHARACTERS if known is None else known]


@dataclass(frozen=True, slots=True)
class TokenIds:
    """A whole text as token ids, read exactly so; all loaded models must cut text alike.

    Attributes:
        ids: of prompt and response, BOS and EOS included.
        max_tokens: keep this many from the end, and BOS; None: the model's own limit.
    """

    ids: tuple[int, ...]
    max_tokens: int | None = None

    @property
    def group_key(self) -> Hashable:
        """Equal for inputs with the same beginning."""
        return self.ids[:_GROUPING_TOKENS]


RewardInput = Dialogue | RenderedText | TokenIds
"""What can be scored."""

_GROUPING_CHARACTERS = 256
_GROUPING_TOKENS = 64


@dataclass(frozen=True, slots=True)
class ReadPosition:
    """A token of the response at which a reward is read.

    Attributes:
        position: index into the encoding's `input_ids`.
        start: first character that it stands for: the token's own, or the step's that ends there.
            Counted in the response as it was given; the response's end for what follows it.
        end: one past the last character.
        text: those characters; for a token without any (EOS, the template's) its name.
    """

    position: int
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Encoded:
    """A dialogue as one model reads it.

    Attributes:
        input_ids: token ids, (tokens,).
        read_position: index into `input_ids` of the hidden state that the head reads.
        num_prompt_tokens: how many leading ids belong to the prompt alone; None where the border
            can't be told (one string tokenised whole).
        warnings: any of "missing_eos", "double_bos", "truncated", "response_truncated".
        extra_positions: where further rewards are read, in the order of the text.
    """

    input_ids: tuple[int, ...]
    read_position: int
    num_prompt_tokens: int | None = None
    warnings: tuple[str, ...] = ()
    extra_positions: tuple[ReadPosition, ...] = ()

    @property
    def num_tokens(self) -> int:
        """Length in tokens."""
        return len(self.input_ids)


@dataclass(frozen=True, slots=True)
class EncodedItem:
    """A dialogue as every loaded model reads it; the unit that the scheduler packs.

    Attributes:
        by_model: one encoding per loaded model, in the models' order.
    """

    by_model: Mapping[ModelName, Encoded]

    @property
    def num_tokens(self) -> int:
        """The longest encoding's length in tokens: the item's cost in a pack."""
        return max(encoded.num_tokens for encoded in self.by_model.values())

    @property
    def num_extra_positions(self) -> int:
        """Rewards that are read beside the one of each model's read position."""
        return sum(len(encoded.extra_positions) for encoded in self.by_model.values())

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings of all encodings, each once, in order of appearance."""
        return tuple(
            dict.fromkeys(w for encoded in self.by_model.values() for w in encoded.warnings)
        )


@dataclass(frozen=True, slots=True)
class Baseline:
    """Reward statistics of a model on reference responses, from which a new stream starts.

    Attributes:
        mean: mean of the calibrated rewards.
        std: their standard deviation, > 0.
        weight: how many samples the baseline counts for when it is merged (n₀).
    """

    mean: float
    std: float
    weight: float


@dataclass(frozen=True, slots=True)
class ReferenceQuantiles:
    """Where a model's calibrated rewards lie on reference responses; what drift is told by.

    Attributes:
        probabilities: strictly increasing, in (0, 1).
        values: the quantile at each probability, never decreasing, in calibrated reward.
        responses: how many rewards they were taken from.
    """

    probabilities: tuple[float, ...]
    values: tuple[float, ...]
    responses: int


@dataclass(frozen=True, slots=True)
class CalibrationFit:
    """How a checkpoint's temperature and bias were found.

    Attributes:
        method: "labels" (temperature and bias by logistic regression on `is_safe`), "pairs"
            (temperature by the Bradley-Terry likelihood) or "none" (the identity).
        how: the procedure and its data, or why it is the identity; for a person to read.
        pairs: held-out pairs that were looked at.
        labels: `is_safe` labels that were looked at.
        prompts: different prompts of both.
        temperature_standard_error: robust to answers of one prompt being alike; None: not fitted.
        bias_standard_error: the same; None: not fitted.
    """

    method: Literal["labels", "pairs", "none"]
    how: str
    pairs: int = 0
    labels: int = 0
    prompts: int = 0
    temperature_standard_error: float | None = None
    bias_standard_error: float | None = None


@dataclass(frozen=True, slots=True)
class SafetyThreshold:
    """The score below which the safety reward is selected, and how it was found.

    Attributes:
        tau: on the score, in (0, 1).
        how: the procedure and the data, for a person to read.
        target_precision: the precision of "unsafe" that τ was to reach; None: found otherwise.
        precision: share of unsafe responses among those with a score below τ, on the labels that
            τ was found on.
        recall: share of the unsafe responses whose score is below τ.
        tau_interval: 95 %, by resampling prompts and finding τ anew.
        precision_interval: 95 %, by resampling prompts, at this τ.
        recall_interval: the same for the recall.
        labels: labelled responses.
        unsafe: how many of them are unsafe.
    """

    tau: float
    how: str
    target_precision: float | None = None
    precision: float | None = None
    recall: float | None = None
    tau_interval: tuple[float, float] | None = None
    precision_interval: tuple[float, float] | None = None
    recall_interval: tuple[float, float] | None = None
    labels: int | None = None
    unsafe: int | None = None


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """What the reward mathematics and the provenance need to know of a loaded model.

    Attributes:
        role: its name among the loaded models.
        name: directory or hub name that it was loaded from.
        digest: sha256 over the weights, hex.
        template_hash: sha256 of the chat template, hex; None where there is none.
        max_length: the most tokens that it reads.
        temperature: calibrated reward = raw / temperature + bias.
        bias: see temperature.
        baseline: statistics on reference responses, None where unknown.
        calibration: how temperature and bias were found; None where nobody said.
        baseline_source: which responses the baseline and the quantiles are of.
        reference_quantiles: of calibrated rewards on those; None where unknown.
        safety_threshold: the checkpoint's own τ and how it was found; None: the default.
    """

    role: ModelName
    name: str
    digest: str
    template_hash: str | None
    max_length: int
    temperature: float = 1.0
    bias: float = 0.0
    baseline: Baseline | None = None
    calibration: CalibrationFit | None = None
    baseline_source: str | None = None
    reference_quantiles: ReferenceQuantiles | None = None
    safety_threshold: SafetyThreshold | None = None

    @property
    def tau(self) -> float | None:
        """The checkpoint's own safety threshold on the score; None: the default."""
        return None if self.safety_threshold is None else self.safety_threshold.tau


ItemRewards = dict[ModelName, tuple[float, ...]]
"""Raw rewards of one item by model: at its read position, then at each extra position."""


class Scorer(Protocol):
    """What the service needs of the engine; tests give it a fake.

    `encode` is thread-safe and runs off the event loop; `forward` is called from one thread only.
    """

    @property
    def model_names(self) -> tuple[ModelName, ...]:
        """The loaded models, at least one, in their order."""
        ...

    @property
    def shares_prefixes(self) -> bool:
        """Whether a pack's common prefixes are computed once, so that they cost only once."""
        ...

    @property
    def profiles(self) -> Mapping[ModelName, ModelProfile]:
        """What is known of the loaded models, in their order."""
        ...

    def encode(self, dialogue: RewardInput, *, truncate: Truncation = "error") -> EncodedItem:
        """Turn a dialogue (or a text rendered from one) into token ids for every model.

        Raises:
            InputError: this dialogue can't be scored; others can.
        """
        ...

    def forward(self, items: Sequence[EncodedItem]) -> list[ItemRewards]:
        """Raw rewards of each item, in order; one may be non-finite, which the caller handles.

        Raises:
            OutOfMemory: the items don't fit the device together; the caller splits.
            EngineError: the forward failed.
        """
        ...

    def plan_ahead(self, items: Sequence[EncodedItem]) -> None:
        """Do what can be done before a forward of exactly these items; beside another forward."""
        ...

    def describe(self) -> dict[str, Any]:
        """What is loaded and how it is run, as JSON values, for /v1/info."""
        ...
