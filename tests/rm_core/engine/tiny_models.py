"""Tiny random models of every class for sequence classification that transformers has.

Configurations are shrunk by the names of their attributes; `EXCEPTIONS` has what is left over.
Weights are drawn so that rewards differ widely from text to text: with the small weights of an
initialiser all texts have about one reward, and no error would show.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

from rm_core.checkpoint.heads import head_of
from rm_core.errors import MissingHead

VOCABULARY, ROOM = 64, 128
SPREAD = 0.5
"""Standard deviation of the rewards of different texts."""

_SIZES: dict[str, int] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embedding_size"), 32),
    **dict.fromkeys(("d_latents", "d_inner", "dff", "hidden_dim", "n_inner", "d_ff"), 48),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim"), 48),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 2),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "num_decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("head_dim", "d_head", "d_kv", "qk_rope_head_dim", "qk_nope_head_dim"), 8),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"), ROOM),
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 16),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank", "entity_vocab_size", "entity_emb_size"), 16),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim", "v_head_dim"), 8),
    **dict.fromkeys(("n_group", "topk_group"), 1),
    "vocab_size": VOCABULARY,
    "num_key_value_heads": 2,
    "sliding_window": 16,
    "num_experts_per_tok": 2,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
_TOKENS = {
    "bos_token_id": 0,
    "cls_token_id": 0,
    "decoder_start_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
    "sep_token_id": 2,
    "mask_token_id": 3,
}
FIRST_WORD = 4
"""The first token id without a meaning of its own."""

_ROPE = {"rope_type": "default", "rope_theta": 10_000.0}
_LINEAR_AND_FULL = ["linear_attention", "full_attention"]
_MAMBA: dict[str, Any] = {
    "num_hidden_layers": 4,
    "layers_block_type": ["linear_attention", "hybrid"] * 2,
    "mamba_d_state": 4,
}
_ALL_HEADS_HAVE_KEYS = {"num_key_value_heads": 4, "num_experts_per_tok": 2}

EXCEPTIONS: dict[str, dict[str, Any]] = {
    "AXK1": _ALL_HEADS_HAVE_KEYS,
    "AXK2": _ALL_HEADS_HAVE_KEYS,
    "BigBird": {"block_size": 4, "num_random_blocks": 1},
    "BigBirdPegasus": {"block_size": 4, "num_random_blocks": 1},
    "CohereCompassText": {
        "num_hidden_layers": 4,
        "rope_parameters": {"full_attention": _ROPE, "sliding_attention": _ROPE},
    },
    "DeepseekV2": _ALL_HEADS_HAVE_KEYS,
    "DeepseekV3": _ALL_HEADS_HAVE_KEYS,
    "Esm": {"vocab_size": VOCABULARY, "pad_token_id": 1, "mask_token_id": 3},
    "Esmc": {"num_key_value_heads": 4},
    "Falcon": {"head_dim": None},
    "Funnel": {"num_hidden_layers": None, "block_sizes": [1, 1, 1]},
    "GPTJ": {"rotary_dim": 8},
    "GPTNeo": {"attention_types": [[["global", "local"], 1]], "window_size": 16},
    "HunYuanDenseV1": {"head_dim": 8},
    "HunYuanMoEV1": {"head_dim": 8},
    "Jamba": {
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "mamba_dt_rank": 4,
        "mamba_d_state": 4,
    },
    "LayoutLMv3": {"coordinate_size": 6, "shape_size": 4},
    "Lilt": {"hidden_size": 48},
    "Longformer": {"attention_window": 8},
    "MarkupLM": {"max_depth": 4, "xpath_unit_hidden_size": 8},
    "MiniCPM3": _ALL_HEADS_HAVE_KEYS,
    "Ministral": {"head_dim": 8},
    "Mistral4": {"num_key_value_heads": 4, "head_dim": 16},
    "Mra": {"block_per_row": 1, "initial_prior_diagonal_n_blocks": 1},
    "Nemotron": {"num_key_value_heads": 2},
    "Nystromformer": {"num_landmarks": 8, "segment_means_seq_len": 8},
    "Perceiver": {"d_latents": 32, "num_latents": 8, "num_self_attends_per_block": 1},
    "Qwen3Next": {"layer_types": _LINEAR_AND_FULL},
    "Qwen3_5Text": {"layer_types": _LINEAR_AND_FULL},
    "Reformer": {
        "axial_pos_embds_dim": [16, 16],
        "axial_pos_shape": [8, 16],
        "attn_layers": ["local", "lsh"],
        "num_hidden_layers": None,
        "lsh_attn_chunk_length": 8,
        "local_attn_chunk_length": 8,
    },
    "RoCBert": {"pronunciation_vocab_size": 8, "shape_vocab_size": 8},
    "SmolLM3": {"num_hidden_layers": 4},
    "T5": {"decoder_start_token_id": 0},
    "XLNet": {"max_position_embeddings": None},
    "Xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "Zamba": {**_MAMBA, "mamba_dt_rank": 4, "n_mamba_heads": 2},
    "Zamba2": {
        **_MAMBA,
        "n_mamba_heads": 8,
        "mamba_ngroups": 1,
        "mamba_headdim": 8,
        "num_mem_blocks": 1,
    },
}
"""By configuration class, without "Config": what no name tells; None leaves the size alone."""

_KEEP_AS_DRAWN = ("A_log", "dt_")
"""Parts of names of weights that hold rates of decay, not products."""


def classes() -> dict[str, type[PreTrainedConfig]]:
    """Every class for sequence classification, by name, with its configuration's class."""
    found: dict[str, type[PreTrainedConfig]] = {}
    for config, model in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING.items():
        first = model[0] if isinstance(model, tuple) else model
        found.setdefault(first.__name__, config)
    return dict(sorted(found.items()))


def tiny_config(config_class: type[PreTrainedConfig]) -> Any:
    """A configuration of the class with two small layers and a vocabulary of 64 tokens."""
    config = _shrunk(config_class())
    config.num_labels = 1
    return config


def tiny_model(config: Any) -> Any:
    """A random model of a configuration, in eval mode; the same each time."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    try:
        tokens = model.get_input_embeddings()
    except NotImplementedError:
        tokens = None
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2 and not any(part in name for part in _KEEP_AS_DRAWN):
                parameter.normal_(0.0, parameter.shape[-1] ** -0.5)
        if isinstance(tokens, nn.Embedding):
            tokens.weight.normal_()
    return model


@torch.no_grad()
def spread_rewards(model: Any, alone: Tensor) -> None:
    """Scale a model's head so that the rewards of texts, (texts,), have the deviation `SPREAD`."""
    try:
        head: nn.Linear = head_of(model)
    except MissingHead:
        return
    factor = SPREAD / float(alone.std())
    for parameter in head.parameters():
        parameter.mul_(factor)


def _shrunk(config: Any) -> Any:
    name = type(config).__name__.removesuffix("Config")
    other_names = getattr(type(config), "attribute_map", {})
    sizes = {key: n for key, n in _SIZES.items() if getattr(config, key, None) is not None}
    own: dict[str, Any] = {k: n for k, n in sizes.items() if other_names.get(k) not in sizes}
    for key, token in _TOKENS.items():
        value = getattr(config, key, None)
        if isinstance(value, list) or (isinstance(value, int) and value >= VOCABULARY):
            own[key] = token
    own |= {k: _shrunk(v) for k, v in vars(config).items() if isinstance(v, PreTrainedConfig)}
    own |= EXCEPTIONS.get(name, {})
    # A size that is None in the table is left out; other attributes may be None.
    return type(config)(**{k: v for k, v in own.items() if v is not None or k not in _SIZES})
