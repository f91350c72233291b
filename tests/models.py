"""Small random reward models of every architecture that the tests cover, and their tokenizer."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
)

VOCABULARY = 320
BOS, EOS, PAD, UNK = 256, 257, 258, 259
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "<{{ message['role'] }}>{{ message['content'] }}{{ eos_token }}{% endfor %}"
)

COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 640,
    "pad_token_id": PAD,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
    "num_labels": 1,
}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 2},
    "qwen2": {"num_key_value_heads": 2},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 8},
    "mistral": {"num_key_value_heads": 2, "sliding_window": 64},
    "gemma2": {
        "num_key_value_heads": 2,
        "head_dim": 8,
        "sliding_window": 64,
        "query_pre_attn_scalar": 8,
        "attn_logit_softcapping": 20.0,
    },
    "gpt2": {"n_inner": 64, "attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0},
    "gpt_neox": {},
    "bert": {},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["c2p", "p2c"],
        "max_relative_positions": -1,
        "position_buckets": 32,
        "share_att_key": True,
        "position_biased_input": False,
        "pooler_hidden_size": 32,
    },
}
DECODERS = ("llama", "qwen2", "qwen3", "mistral", "gemma2", "gpt2", "gpt_neox")


def make_model(architecture: str, *, seed: int = 0, **overrides: Any) -> Any:
    """A random model for sequence classification with one label, in eval mode."""
    torch.manual_seed(seed)
    options = {**COMMON, **ARCHITECTURES[architecture], **overrides}
    config = AutoConfig.for_model(architecture, **options)
    return classifier_of(config)


def classifier_of(config: Any) -> Any:
    """A random model of a config, in eval mode, whose rewards differ enough to show an error."""
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Initialisers of 0.02 give rewards so alike that no error would show.
            if parameter.ndim >= 2 and "embed" not in name:
                parameter.normal_(0.0, parameter.shape[-1] ** -0.5)
    return model.eval()


def make_tokenizer(
    *,
    chat: bool = False,
    add_bos: bool = False,
    add_eos: bool = False,
    pad_is_eos: bool = False,
) -> Any:
    """A byte tokenizer: every text has ids, and they can be told by hand."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: index for index, character in enumerate(alphabet)}
    vocabulary |= {"<s>": BOS, "</s>": EOS, "<pad>": PAD, "<unk>": UNK}
    backend = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    if add_bos or add_eos:
        backend.post_processor = processors.TemplateProcessing(
            single=" ".join(["<s>"] * add_bos + ["$A"] + ["</s>"] * add_eos),
            special_tokens=[("<s>", BOS), ("</s>", EOS)],
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>" if pad_is_eos else "<pad>",
        unk_token="<unk>",
    )
    if chat:
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def save_checkpoint(
    directory: Path,
    architecture: str = "llama",
    *,
    seed: int = 0,
    tokenizer: Any = None,
    **overrides: Any,
) -> Path:
    """Write a foreign checkpoint (no reward_model.json) and return its directory."""
    tokenizer = tokenizer or make_tokenizer()
    options = {"pad_token_id": tokenizer.pad_token_id, **overrides}
    make_model(architecture, seed=seed, **options).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
