"""DeepSpeed-Chat: a trunk called rwtransformer and a value head without bias, pickled.

`pytorch_model.bin` holds `rwtransformer.*` (`rwtranrsformer.*` in the first releases, a slip of
theirs) and `v_head.weight`; config.json is the base's; of the tokenizer only the vocabulary is
saved. It reads the token before the text's first pad token, once `num_padding_at_beginning` of them
are skipped, and pads with EOS in every family but LLaMA, which gets a [PAD] of its own.
Source: microsoft/DeepSpeedExamples 83757d9c, dschat/utils/model/reward_model.py, model_utils.py,
dschat/utils/utils.py.
"""

import re
from functools import partial
from typing import Any

from rewardd.checkpoints.convert.names import architecture_of
from rewardd.checkpoints.convert.reading import before_pad, last_token
from rewardd.checkpoints.convert.source import Found, Head, Layout, PadRule, ReadOptions, Source
from rewardd.checkpoints.convert.weights import Weights, take
from rm_core.errors import CheckpointError
from rm_core.text.contract import PositionContract

TRUNKS = ("rwtransformer.", "rwtranrsformer.")
HEAD_WEIGHT = "v_head.weight"
STALE = re.compile(r"\.(attn|attention)\.(masked_)?bias$|\.rotary_emb\.inv_freq$")
"""Buffers, no weights, that the transformers of its day saved."""
PADS_AT_BEGINNING = {"opt": 1}
"""OPT's tokenizer puts </s> before every text, and </s> is what its texts are padded with."""


def recognise(found: Found) -> str | None:
    """The trunk's name."""
    trunk = next((t for t in TRUNKS if any(n.startswith(t) for n in found.tensors())), None)
    return None if trunk is None else f"its weights hold {trunk}*"


def read(found: Found, options: ReadOptions) -> Source:
    """The trunk by transformers' names, and the reading position by the family's pad token."""
    config = found.whole_config()
    weights = found.open(found.model, "model weights")
    if any("lora_" in name for name in weights):
        raise CheckpointError(
            f"{found.directory} holds DeepSpeed-Chat's LoRA layers unfused; save the model with "
            "convert_lora_to_linear_layer, as its own training script does"
        )
    kind = str(config.get("model_type"))
    skipped = options.num_padding_at_beginning
    if skipped is None:
        skipped = PADS_AT_BEGINNING.get(kind, 0)
    pad: PadRule = "own" if kind == "llama" else "eos"
    reads_eos = pad == "eos" and skipped > PADS_AT_BEGINNING.get(kind, 0)
    return Source(
        found=found,
        layout="deepspeed-chat",
        config=config,
        weights=_trunk(weights, architecture_of(config).prefix),
        head=Head.of(take(weights, HEAD_WEIGHT, found.directory), None, found.directory),
        contract=partial(_contract, pad=pad, reads_eos=reads_eos),
        position=last_token if reads_eos else partial(before_pad, skipped=skipped),
        pad="own" if reads_eos else pad,
        notes=_notes(reads_eos),
    )


def _trunk(weights: Weights, prefix: str) -> Weights:
    """The trunk by transformers' names, buffers left out."""
    names: dict[str, str] = {}
    for name in weights:
        trunk = next((t for t in TRUNKS if name.startswith(t)), None)
        if trunk is not None and not STALE.search(name):
            names[f"{prefix}{name.removeprefix(trunk)}"] = name
    return {new: weights[old] for new, old in names.items()}


def _contract(
    tokenizer: Any, max_length: int, *, pad: PadRule, reads_eos: bool
) -> PositionContract:
    """Prompt and response end to end, as its data sets do; never a chat template."""
    del tokenizer
    return PositionContract(
        rendering="concatenate",
        bos="tokenizer",
        eos="if_absent" if reads_eos else "never",
        read="last_non_pad" if pad == "eos" and not reads_eos else "last_token",
        max_length=max_length,
    )


def _notes(reads_eos: bool) -> tuple[str, ...]:
    position = (
        "--num-padding-at-beginning skips the text's own EOS, so that the EOS is read, as in its "
        "training; its RLHF step skips none and reads the token before"
        if reads_eos
        else "the token before EOS is read, as its RLHF step does"
    )
    return (
        position,
        "DeepSpeed-Chat renders dialogues itself (Human: … Assistant: …) and ends its training "
        "texts in <|endoftext|>; render prompts the same way",
    )


LAYOUT = Layout("deepspeed-chat", recognise, read)
