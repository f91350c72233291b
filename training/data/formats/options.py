"""What a reader must be told where the rows themselves don't say it: which key is which, and so on.

Every format takes the same options and looks at those that concern it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields

from rm_core.types import ROLES, Role
from training.errors import DataError

Decode = Callable[[Sequence[int]], str]
"""Token ids to text, special tokens written out, as the base model's tokenizer does it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatOptions:
    r"""How to read one source.

    Attributes:
        role: which reward model the data is for; PKU-SafeRLHF rows hold two preferences, one for
            each.
        prompt_key: the column of the prompt (OpenRLHF); None: the sides hold it.
        chosen_key: the column of the better response; naming one means the format `openrlhf`.
        rejected_key: the column of the worse one.
        input_template: text with one `{}` that takes the prompt (OpenRLHF).
        step_separator: stands between the steps of a response (TRL's default is a line break).
        attribute: which of several ratings is the response's rating; None: the format's own.
        columns: LLaMA-Factory's column mapping, from dataset_info.json.
        tags: LLaMA-Factory's names of roles and contents, from dataset_info.json.
        decode: needed for rows of token ids; None: such rows are an error.
    """

    role: Role | None = None
    prompt_key: str | None = None
    chosen_key: str | None = None
    rejected_key: str | None = None
    input_template: str | None = None
    step_separator: str = "\n"
    attribute: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    decode: Decode | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Check what a typing mistake would otherwise spoil silently.

        Raises:
            DataError: an unknown role, a template without a place for the prompt, or keys without
                their partner.
        """
        if self.input_template is not None and self.input_template.count("{}") != 1:
            raise DataError("`input_template` must hold `{}` once, where the prompt goes")
        if self.role is not None and self.role not in ROLES:
            raise DataError(f"`role` must be one of {', '.join(ROLES)}")
        if self.rejected_key is not None and self.chosen_key is None:
            raise DataError("`rejected_key` is given without `chosen_key`")
        if self.chosen_key is None and (self.prompt_key or self.input_template):
            raise DataError("`prompt_key` and `input_template` go with `chosen_key`")

    @property
    def names_keys(self) -> bool:
        """Whether the user said which columns hold the sides."""
        return self.chosen_key is not None


WRITTEN_OPTIONS: tuple[str, ...] = tuple(
    option.name
    for option in fields(FormatOptions)
    if option.name not in {"columns", "tags", "decode"}
)
"""The options that a source can carry in text: `data.jsonl,chosen_key=good,rejected_key=bad`."""
