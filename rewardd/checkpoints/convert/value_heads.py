"""LLaMA-Factory and TRL: a causal language model, or a LoRA adapter of one, under a value head.

Both have TRL's value-head class. LLaMA-Factory's trainer takes the whole apart again: the language
model by save_pretrained, and `value_head.safetensors` (`value_head.bin` where safetensors are off)
with `v_head.summary.weight` and `v_head.summary.bias`. Its reward is the value at the last token of
the attention mask, in training, evaluation and its API alike. TRL saves these two beside the
language model's own names; a trainer that saved the wrapper as a whole has `pretrained_model.`
before those. Of a LoRA model the adapter is saved by peft and the value head alone in
`pytorch_model.bin`. TRL gives a value to every token and names none as the reward; the last one is
read here.
Sources: hiyouga/LLaMA-Factory ff6d4d12, train/callbacks.py, train/rm/trainer.py, chat/hf_engine.py;
huggingface/trl f2cd5771, trl/experimental/ppo/modeling_value_head.py.
"""

from typing import Any

from rewardd.checkpoints.convert.lora import read_adapter
from rewardd.checkpoints.convert.names import architecture_of, trunk_of_causal_lm
from rewardd.checkpoints.convert.reading import Contract, chat_or_plain
from rewardd.checkpoints.convert.source import (
    Found,
    Head,
    Layout,
    LayoutName,
    ReadOptions,
    Source,
)
from rewardd.checkpoints.convert.weights import Weights, take
from rm_core.text.contract import PositionContract

HEAD_WEIGHT, HEAD_BIAS = "v_head.summary.weight", "v_head.summary.bias"


def _recognise_llama_factory(found: Found) -> str | None:
    """A value head in a file of its own."""
    return None if found.value_head is None else f"it has {found.value_head.paths[0].name}"


def _recognise_trl(found: Found) -> str | None:
    """A value head among the model's own tensors."""
    return f"its weights hold {HEAD_WEIGHT}" if HEAD_WEIGHT in found.tensors() else None


def _llama_factory_contract(tokenizer: Any, max_length: int) -> PositionContract:
    """BOS, the dialogue, EOS, as its templates build them; read at the last token."""
    return chat_or_plain(
        tokenizer,
        max_length,
        plain_bos="if_absent" if tokenizer.bos_token_id is not None else "never",
        eos="if_absent" if tokenizer.eos_token_id is not None else "never",
        read="last_token",
    )


def _trl_contract(tokenizer: Any, max_length: int) -> PositionContract:
    """The tokenizer's own defaults, or the chat template; read at the last token."""
    return chat_or_plain(
        tokenizer, max_length, plain_bos="tokenizer", eos="never", read="last_token"
    )


def _read_llama_factory(found: Found, options: ReadOptions) -> Source:
    values = found.open(found.value_head, "value_head.safetensors or value_head.bin")
    note = (
        "LLaMA-Factory renders by a template of its own name; make sure that the tokenizer's chat "
        "template is the same, else scores will differ"
    )
    return _read(found, options, "llama-factory", values, _llama_factory_contract, note)


def _read_trl(found: Found, options: ReadOptions) -> Source:
    values = found.open(found.model, "model weights")
    note = "TRL's value head gives a value to every token; the last token's is taken for the reward"
    return _read(found, options, "trl", values, _trl_contract, note)


def _read(
    found: Found,
    options: ReadOptions,
    layout: LayoutName,
    values: Weights,
    contract: Contract,
    note: str,
) -> Source:
    """The language model's trunk, or the adapter, under the value head."""
    weight, bias = (take(values, name, found.directory) for name in (HEAD_WEIGHT, HEAD_BIAS))
    head = Head.of(weight, bias, found.directory)
    if found.adapter is not None:
        return read_adapter(
            found, options, layout=layout, head=head, contract=contract, notes=(note,)
        )
    config = found.whole_config()
    weights = found.open(found.model, "model weights")
    return Source(
        found=found,
        layout=layout,
        config=config,
        weights=trunk_of_causal_lm(weights, architecture_of(config).prefix),
        head=head,
        contract=contract,
        notes=(note,),
    )


LLAMA_FACTORY = Layout("llama-factory", _recognise_llama_factory, _read_llama_factory)
TRL = Layout("trl", _recognise_trl, _read_trl)
VALUE_HEADS = (LLAMA_FACTORY.name, TRL.name)
