"""Text encoders by changes of a tokenizer's default contract."""

from typing import Any

from rm_core.text.contract import PositionContract, default_contract
from rm_core.text.encoder import TextEncoder
from tests.models import PAD


def text_encoder(
    tokenizer: Any, *, pad: int | None = PAD, max_length: int = 512, **changes: str
) -> TextEncoder:
    contract = default_contract(tokenizer, max_length=max_length).to_json()
    changed = PositionContract.from_json({**contract, **changes})
    return TextEncoder(tokenizer, changed, pad_token_id=pad)
