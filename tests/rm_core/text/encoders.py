"""Text encoders by changes of a tokenizer's default contract, and a tokenizer of pairs."""

from typing import Any

from tokenizers import processors

from rm_core.text.contract import PositionContract, default_contract
from rm_core.text.encoder import TextEncoder
from tests.models import BOS, EOS, PAD, make_tokenizer


def text_encoder(
    tokenizer: Any, *, pad: int | None = PAD, max_length: int = 512, **changes: str
) -> TextEncoder:
    contract = default_contract(tokenizer, max_length=max_length).to_json()
    changed = PositionContract.from_json({**contract, **changes})
    return TextEncoder(tokenizer, changed, pad_token_id=pad)


def pair_tokenizer() -> Any:
    """As BERT's: `[CLS] q [SEP] a [SEP]`, and which segment each id is of."""
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B:1 </s>:1",
        special_tokens=[("<s>", BOS), ("</s>", EOS)],
    )
    tokenizer.cls_token, tokenizer.sep_token = "<s>", "</s>"
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    return tokenizer
