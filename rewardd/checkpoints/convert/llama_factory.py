"""LLaMA-Factory: a causal language model, or a LoRA adapter of one, and a value head beside it.

Its trainer wraps the model in TRL's value-head class and, once the whole is saved, takes it apart
again: the language model by save_pretrained, and `value_head.safetensors` (`value_head.bin` where
safetensors are off) with `v_head.summary.weight` and `v_head.summary.bias`. The reward is the value
at the last token of the attention mask, in training, evaluation and its API alike.
Source: hiyouga/LLaMA-Factory ff6d4d12, train/callbacks.py, train/rm/trainer.py, chat/hf_engine.py.
"""

from typing import Any

from rewardd.checkpoints.convert.lora import read_adapter
from rewardd.checkpoints.convert.names import architecture_of, trunk_of_causal_lm
from rewardd.checkpoints.convert.reading import chat_or_plain, last_token
from rewardd.checkpoints.convert.source import Found, Head, Layout, ReadOptions, Source
from rewardd.checkpoints.convert.weights import take
from rm_core.text.contract import PositionContract

HEAD_WEIGHT, HEAD_BIAS = "v_head.summary.weight", "v_head.summary.bias"


def recognise(found: Found) -> str | None:
    """A value head in a file of its own."""
    return None if found.value_head is None else f"it has {found.value_head.paths[0].name}"


def contract(tokenizer: Any, max_length: int) -> PositionContract:
    """BOS, the dialogue, EOS, as its templates build them; read at the last token."""
    return chat_or_plain(
        tokenizer,
        max_length,
        plain_bos="if_absent" if tokenizer.bos_token_id is not None else "never",
        eos="if_absent" if tokenizer.eos_token_id is not None else "never",
        read="last_token",
    )


def read(found: Found, options: ReadOptions) -> Source:
    """The language model's trunk, or the adapter, under the value head."""
    values = found.open(found.value_head, "value_head.safetensors or value_head.bin")
    head = Head.of(
        take(values, HEAD_WEIGHT, found.directory),
        take(values, HEAD_BIAS, found.directory),
        found.directory,
    )
    notes = (
        "LLaMA-Factory renders by a template of its own name; make sure that the tokenizer's chat "
        "template is the same, else scores will differ",
    )
    if found.adapter is not None:
        return read_adapter(
            found, options, layout="llama-factory", head=head, contract=contract, notes=notes
        )
    config = found.whole_config()
    return Source(
        layout="llama-factory",
        name=found.name,
        directory=found.directory,
        config=config,
        weights=trunk_of_causal_lm(
            found.open(found.model, "model weights"), architecture_of(config).prefix
        ),
        head=head,
        contract=contract,
        position=last_token,
        pad="own",
        tokenizer_directory=found.directory,
        pickled=found.pickled,
        notes=notes,
    )


LAYOUT = Layout("llama-factory", recognise, read)
