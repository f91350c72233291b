"""What is scored: dialogues, rendered texts or ids, and their encodings."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from rm_core.types.names import ModelName

ReadAt = Literal["end", "tokens"] | tuple[int, ...]
"""Where rewards are read: at the text's end alone; also at every token from the response's first
on; or also at the response's last token before each of these numbers of its characters."""

Truncation = Literal["error", "prompt", "left"]
"""What to do with an item that is too long: refuse it, cut the prompt's left, or cut the text's
left, of which the response's own is taken where the prompt does not suffice."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat.

    Attributes:
        role: who speaks.
        content: what is said; "" for nothing.
        fields: what else a chat template may read of the turn (tool_calls, name, …), a JSON object;
            "" for nothing. A content of null in it says that the turn has none.
    """

    role: str
    content: str
    fields: str = field(default="", repr=False)


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
        response_fields: see `Message.fields`.
    """

    prompt: str | tuple[Message, ...]
    response: str
    allow_empty: bool = False
    read_at: ReadAt = "end"
    rendered: bool = False
    stops: tuple[str, ...] = ()
    response_fields: str = ""

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


TextWarning = Literal[
    "missing_eos",
    "double_bos",
    "truncated",
    "response_truncated",
    "prompt_already_rendered",
    "response_changed",
    "dated_template",
    "unfinished_template",
]
"""What a caller may want to know of a text as it was read; docs/guides/dialects.md explains."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A dialogue as one model reads it.

    Attributes:
        input_ids: token ids, (tokens,).
        read_position: index into `input_ids` of the hidden state that the head reads.
        num_prompt_tokens: how many leading ids belong to the prompt alone; None where the border
            can't be told (one string tokenised whole).
        warnings: any of `TextWarning`.
        extra_positions: where further rewards are read, in the order of the text.
        token_types: the segment of each id, for models that tell prompt and response apart by it;
            empty: one segment.
        cache_scope: keys and values that a cache keeps of it serve texts of the same scope alone.
    """

    input_ids: tuple[int, ...]
    read_position: int
    num_prompt_tokens: int | None = None
    warnings: tuple[TextWarning, ...] = ()
    extra_positions: tuple[ReadPosition, ...] = ()
    token_types: tuple[int, ...] = ()
    cache_scope: bytes = b""

    @property
    def num_tokens(self) -> int:
        """Length in tokens."""
        return len(self.input_ids)


@dataclass(frozen=True, slots=True)
class EncodedItem:
    """A dialogue as every loaded model reads it; the unit that the scheduler packs.

    Attributes:
        by_model: one encoding per loaded model, in the models' order.
        cache_scope: items of different scopes never meet in a cache; b"" where callers are not
            kept apart.
        content_digest: of what is read, for whoever looks the item up; b"" where nobody made one.
        num_tokens: the longest encoding's length: the item's cost in a pack, asked for at every
            step of the queue.
    """

    by_model: Mapping[ModelName, Encoded]
    cache_scope: bytes = b""
    content_digest: bytes = field(default=b"", compare=False, repr=False)
    num_tokens: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        longest = max((encoded.num_tokens for encoded in self.by_model.values()), default=0)
        object.__setattr__(self, "num_tokens", longest)

    @property
    def num_extra_positions(self) -> int:
        """Rewards that are read beside the one of each model's read position."""
        return sum(len(encoded.extra_positions) for encoded in self.by_model.values())

    @property
    def warnings(self) -> tuple[TextWarning, ...]:
        """Warnings of all encodings, each once, in order of appearance."""
        return tuple(
            dict.fromkeys(w for encoded in self.by_model.values() for w in encoded.warnings)
        )
