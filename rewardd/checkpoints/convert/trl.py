"""TRL: AutoModelForCausalLMWithValueHead, the value head inside the language model's state dict.

`v_head.summary.weight` and `.bias` stand beside the language model's own names; a trainer that
saved the wrapper as a whole has `pretrained_model.` before those. Of a LoRA model the adapter is
saved by peft and the value head alone in `pytorch_model.bin`. TRL gives a value to every token and
names none as the reward; the last one is read here.
Source: huggingface/trl f2cd5771, trl/experimental/ppo/modeling_value_head.py.
"""

from typing import Any

from rewardd.checkpoints.convert.llama_factory import HEAD_BIAS, HEAD_WEIGHT
from rewardd.checkpoints.convert.lora import read_adapter
from rewardd.checkpoints.convert.names import architecture_of, trunk_of_causal_lm
from rewardd.checkpoints.convert.reading import chat_or_plain, last_token
from rewardd.checkpoints.convert.source import Found, Head, Layout, ReadOptions, Source
from rewardd.checkpoints.convert.weights import take
from rm_core.text.contract import PositionContract


def recognise(found: Found) -> str | None:
    """A value head among the model's own tensors."""
    names = found.tensors()
    return f"its weights hold {HEAD_WEIGHT}" if HEAD_WEIGHT in names else None


def contract(tokenizer: Any, max_length: int) -> PositionContract:
    """The tokenizer's own defaults, or the chat template; read at the last token."""
    return chat_or_plain(
        tokenizer, max_length, plain_bos="tokenizer", eos="never", read="last_token"
    )


def read(found: Found, options: ReadOptions) -> Source:
    """The language model's trunk, or the adapter, under the value head."""
    weights = found.open(found.model, "model weights")
    head = Head.of(
        take(weights, HEAD_WEIGHT, found.directory),
        take(weights, HEAD_BIAS, found.directory),
        found.directory,
    )
    notes = (
        "TRL's value head gives a value to every token; the last token's is taken for the reward",
    )
    if found.adapter is not None:
        return read_adapter(found, options, layout="trl", head=head, contract=contract, notes=notes)
    config = found.whole_config()
    return Source(
        layout="trl",
        name=found.name,
        directory=found.directory,
        config=config,
        weights=trunk_of_causal_lm(weights, architecture_of(config).prefix),
        head=head,
        contract=contract,
        position=last_token,
        pad="own",
        tokenizer_directory=found.directory,
        pickled=found.pickled,
        notes=notes,
    )


LAYOUT = Layout("trl", recognise, read)
