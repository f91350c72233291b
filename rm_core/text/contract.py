"""The position contract: how a checkpoint wants its texts, and where its head reads them."""

import hashlib
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from rm_core.errors import ConfigurationError, InvalidManifest

ReadRule = Literal["last_non_pad", "last_token"]


Rendering = Literal["chat", "concatenate", "pair"]


BosRule = Literal["tokenizer", "if_absent", "never"]


EosRule = Literal["if_absent", "never", "closing"]


@dataclass(frozen=True, slots=True)
class PositionContract:
    """How a model wants its text, and where its head reads.

    Attributes:
        rendering: "chat" renders messages by the tokenizer's chat template, without a generation
            prompt; "concatenate" puts prompt and response end to end; "pair" hands both to the
            tokenizer as two segments (`[CLS] prompt [SEP] response [SEP]`).
        template_sha256: hash of the chat template that the model was trained with; None for
            "concatenate".
        bos: "tokenizer" leaves BOS to the tokenizer's own defaults, "if_absent" puts one in front
            where there is none, "never" adds nothing. No rule ever makes two.
        eos: "if_absent" ends the text with EOS where it does not already, "never" adds nothing;
            "closing" is "if_absent" once line breaks at the text's end are left out, which many
            templates write behind EOS.
        read: "last_non_pad" reads the last token that is not the pad token, as transformers does
            (with pad == EOS that is the token before the final EOS); "last_token" reads the last
            token, as OpenRLHF and vLLM do.
        max_length: the most tokens that the model reads.
        template_date: what a chat template that writes today's date is told to be today, ISO 8601;
            None: what it is.
    """

    rendering: Rendering
    bos: BosRule
    eos: EosRule
    read: ReadRule
    max_length: int
    template_sha256: str | None = None
    template_date: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON values, for reward_model.json and /v1/info; without a date that isn't set."""
        values = asdict(self)
        if self.template_date is None:
            del values["template_date"]
        return values

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "PositionContract":
        """Read back what `to_json` wrote.

        Raises:
            InvalidManifest: a field is missing, unknown or has a value that no rule knows.
        """
        allowed = {
            "rendering": ("chat", "concatenate", "pair"),
            "bos": ("tokenizer", "if_absent", "never"),
            "eos": ("if_absent", "never", "closing"),
            "read": ("last_non_pad", "last_token"),
        }
        for name, choices in allowed.items():
            if value.get(name) not in choices:
                raise InvalidManifest(f"position.{name} must be one of {', '.join(choices)}")
        if not isinstance(value.get("max_length"), int) or value["max_length"] < 1:
            raise InvalidManifest("position.max_length must be a positive integer")
        try:
            return cls(**value)
        except TypeError as error:
            raise InvalidManifest(f"position has unknown fields: {error}") from error


@dataclass(frozen=True, slots=True)
class ContractOverrides:
    """What an operator knows better than a checkpoint of how it reads; None leaves it as it is.

    Attributes:
        read: where the head reads.
        rendering: how prompt and response become a text; with another rendering than the
            checkpoint's, BOS and EOS are those of the tokenizer, or of the template.
        template_date: what a template that writes today's date is told to be today.
    """

    read: ReadRule | None = None
    rendering: Rendering | None = None
    template_date: str | None = None

    def applied_to(self, contract: PositionContract, tokenizer: Any) -> PositionContract:
        """The contract with these changes.

        Raises:
            ConfigurationError: "chat" for a tokenizer without a chat template.
        """
        if self.rendering is not None and self.rendering != contract.rendering:
            template = tokenizer.chat_template if self.rendering == "chat" else None
            if self.rendering == "chat" and not isinstance(template, str):
                raise ConfigurationError(
                    "rendering is chat, but the tokenizer has no chat template; save one with it"
                )
            contract = replace(
                contract,
                rendering=self.rendering,
                bos="never" if self.rendering == "chat" else "tokenizer",
                eos="never",
                template_sha256=template_digest(template),
            )
        return replace(
            contract,
            read=self.read or contract.read,
            template_date=self.template_date or contract.template_date,
        )


NO_OVERRIDES = ContractOverrides()


def template_digest(template: str | None) -> str | None:
    """The sha256 of a chat template's text, hex; None for no template."""
    return None if template is None else hashlib.sha256(template.encode()).hexdigest()


def default_contract(
    tokenizer: Any, *, max_length: int, read: ReadRule = "last_non_pad"
) -> PositionContract:
    """The contract of a foreign checkpoint, one that says nothing itself (design.md §3)."""
    template = tokenizer.chat_template
    if isinstance(template, str):
        return PositionContract(
            "chat", "never", "never", read, max_length, template_digest(template)
        )
    return PositionContract("concatenate", "tokenizer", "never", read, max_length)
