"""Where projects read a reward, and the position contracts that say the same to our engine."""

from collections.abc import Callable, Sequence
from typing import Any

from rm_core.text.contract import BosRule, EosRule, PositionContract, ReadRule, template_digest
from rm_core.text.encoder import TextEncoder
from rm_core.text.special_tokens import ends_with
from rm_core.types import Dialogue

_PROBE = Dialogue(prompt="a", response="b")


def last_token(ids: Sequence[int], pad: int | None) -> int:
    """The last token of the text, as an attention mask tells it: LLaMA-Factory, OpenRLHF, TRL."""
    del pad
    return len(ids) - 1


def last_non_pad(ids: Sequence[int], pad: int | None) -> int:
    """The rightmost token that is not the pad token, as transformers reads; 0 where all are."""
    return max((index for index, token in enumerate(ids) if token != pad), default=0)


def before_pad(ids: Sequence[int], pad: int | None, *, skipped: int) -> int:
    """The token before a text's first pad token, as DeepSpeed-Chat reads.

    Args:
        ids: of the text.
        pad: the pad token.
        skipped: how many pad tokens are the text's own (`num_padding_at_beginning`).
    """
    pads = [index for index, token in enumerate(ids) if token == pad]
    return (pads[skipped] if len(pads) > skipped else len(ids)) - 1


Position = Callable[[Sequence[int], int | None], int]
"""Which of a text's ids is read, given the pad token."""
Contract = Callable[[Any, int], PositionContract]
"""The position contract for a tokenizer and a length."""
READ_RULES = {"last_token": last_token, "last_non_pad": last_non_pad}


def chat_or_plain(
    tokenizer: Any, max_length: int, *, plain_bos: BosRule, eos: EosRule, read: ReadRule
) -> PositionContract:
    """A contract for texts rendered by the chat template, where there is one.

    The template decides on BOS.

    Args:
        tokenizer: of the checkpoint.
        max_length: most tokens.
        plain_bos: who puts BOS before texts where there is no template.
        eos: "if_absent" adds EOS only where the template never writes it.
        read: which token is read.
    """
    template = tokenizer.chat_template
    if not isinstance(template, str):
        return PositionContract("concatenate", plain_bos, eos, read, max_length)
    contract = PositionContract("chat", "never", eos, read, max_length, template_digest(template))
    if eos == "if_absent" and _writes_eos(tokenizer, template, read):
        return PositionContract(
            "chat", "never", "never", read, max_length, contract.template_sha256
        )
    return contract


def _writes_eos(tokenizer: Any, template: str, read: ReadRule) -> bool:
    """Whether the template ends an assistant's turn with EOS, or EOS and a line break."""
    bare = PositionContract("chat", "never", "never", read, 2**20, template_digest(template))
    written = TextEncoder(tokenizer, bare, pad_token_id=None).encode(_PROBE)
    eos = tokenizer.eos_token_id
    return eos is None or ends_with(eos, written.input_ids)
