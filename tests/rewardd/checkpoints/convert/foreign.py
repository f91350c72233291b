"""Reward models as LLaMA-Factory, OpenRLHF, TRL and DeepSpeed-Chat leave them on the disk.

Every name of a tensor, file and key was read from those projects' code that saves and loads them
(docs/guides/convert.md). `oracle` is their arithmetic written out once more, on the model in
memory.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import processors
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from tests.models import ARCHITECTURES, COMMON, make_tokenizer

Oracle = Callable[[Sequence[int]], float]


@dataclass(frozen=True)
class Foreign:
    """A foreign checkpoint and what its project makes of token ids.

    Attributes:
        directory: of the checkpoint.
        oracle: the project's reward of a text's ids.
        head: its weight.
        bias: its bias; None without one.
        trunk: names as transformers' sequence classifier has them, and tensors.
    """

    directory: Path
    oracle: Oracle
    head: Tensor
    bias: Tensor | None
    trunk: dict[str, Tensor]


def causal_lm(architecture: str = "llama", *, seed: int = 0, **overrides: Any) -> Any:
    """A random causal language model whose hidden states differ from text to text."""
    torch.manual_seed(seed)
    options = {**COMMON, **ARCHITECTURES.get(architecture, {}), **overrides}
    options.pop("num_labels")
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **options))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2 and "embed" not in name and "wte" not in name:
                parameter.normal_(0.0, parameter.shape[-1] ** -0.5)
    return model.eval()


def value_head(hidden: int, *, bias: bool = True, seed: int = 7) -> nn.Linear:
    """TRL's value head: a linear layer with torch's own initialisation, never a zero bias."""
    torch.manual_seed(seed)
    head = nn.Linear(hidden, 1, bias=bias)
    with torch.no_grad():
        head.weight.normal_(0.0, hidden**-0.5)
        if bias:
            head.bias.fill_(1.5)
    return head


def value_at(model: Any, head: nn.Linear, position: Callable[[Sequence[int]], int]) -> Oracle:
    """The head on the last of a causal language model's hidden states, as TRL wires it."""

    def reward(ids: Sequence[int]) -> float:
        with torch.inference_mode():
            states = model(
                input_ids=torch.tensor([list(ids)]), output_hidden_states=True
            ).hidden_states[-1]
            return float(head(states)[0, position(ids), 0])

    return reward


def at_last(ids: Sequence[int]) -> int:
    return len(ids) - 1


def trunk_of(model: Any) -> dict[str, Tensor]:
    prefix = f"{model.base_model_prefix}."
    return {name: t for name, t in model.state_dict().items() if name.startswith(prefix)}


def llama_factory(
    directory: Path, *, pickled: bool = False, architecture: str = "llama", **overrides: Any
) -> Foreign:
    """Full tuning: the language model by save_pretrained, value_head.* beside it."""
    model = causal_lm(architecture, **overrides)
    head = value_head(32)
    model.save_pretrained(directory)
    make_tokenizer(chat=True).save_pretrained(directory)
    values = {f"v_head.summary.{name}": tensor for name, tensor in head.state_dict().items()}
    if pickled:
        torch.save(values, directory / "value_head.bin")
    else:
        save_file(values, directory / "value_head.safetensors", metadata={"format": "pt"})
    oracle = value_at(model, head, at_last)
    return Foreign(directory, oracle, head.weight.data, head.bias.data, trunk_of(model))


def llama_factory_lora(directory: Path, base: Path) -> Foreign:
    """LoRA tuning: a peft adapter of a causal language model, the value head beside it."""
    from peft import LoraConfig, get_peft_model

    model = causal_lm(tie_word_embeddings=False)
    model.save_pretrained(base)
    make_tokenizer(chat=True).save_pretrained(base)
    adapted = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base),
        LoraConfig(
            task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "up_proj"]
        ),
    )
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0.0, 0.3)
    adapted.save_pretrained(directory)
    make_tokenizer(chat=True).save_pretrained(directory)
    head = value_head(32)
    values = {f"v_head.summary.{name}": tensor for name, tensor in head.state_dict().items()}
    save_file(values, directory / "value_head.safetensors", metadata={"format": "pt"})
    trunk = load_file(directory / "adapter_model.safetensors")
    oracle = value_at(adapted.eval(), head, at_last)
    return Foreign(directory, oracle, head.weight.data, head.bias.data, trunk)


def trl_lora(directory: Path, base: Path) -> Foreign:
    """A peft adapter, and the value head alone in a pickle with a model's name."""
    source = llama_factory_lora(directory, base)
    (directory / "value_head.safetensors").unlink()
    values = {"v_head.summary.weight": source.head, "v_head.summary.bias": source.bias}
    torch.save(values, directory / "pytorch_model.bin")
    return source


def trl(
    directory: Path,
    *,
    wrapped: bool = False,
    sharded: bool = False,
    dtype: torch.dtype = torch.float32,
    architecture: str = "llama",
    **overrides: Any,
) -> Foreign:
    """The value head's tensors among the language model's, or the wrapper as a whole."""
    model = causal_lm(architecture, **overrides)
    head = value_head(32)
    for parameter in (*model.parameters(), *head.parameters()):
        parameter.data = parameter.data.to(dtype).float()  # what a file of that dtype can hold
    state = {name: tensor.to(dtype) for name, tensor in model.state_dict().items()}
    if wrapped:
        state = {f"pretrained_model.{name}": tensor for name, tensor in state.items()}
    state |= {f"v_head.summary.{name}": t.to(dtype) for name, t in head.state_dict().items()}
    options = {"max_shard_size": "40KB"} if sharded else {}
    if wrapped:
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(directory)
        state = {name: tensor.clone() for name, tensor in state.items()}
        save_file(state, directory / "model.safetensors", metadata={"format": "pt"})
    else:
        model.save_pretrained(directory, state_dict=state, **options)
    make_tokenizer(add_bos=True).save_pretrained(directory)
    oracle = value_at(model, head, at_last)
    weight, bias = head.weight.data.to(dtype), head.bias.data.to(dtype)
    trunk = {name: tensor.to(dtype) for name, tensor in trunk_of(model).items()}
    return Foreign(directory, oracle, weight, bias, trunk)


def openrlhf(
    directory: Path,
    *,
    prefix: str = "score",
    named: bool = True,
    tokenizer: Any = None,
    architecture: str = "llama",
) -> Foreign:
    """A class called RewardModel: the trunk under its own prefix, a head without bias."""
    model = causal_lm(architecture)
    head = value_head(32, bias=False)
    trunk = trunk_of(model)
    directory.mkdir(parents=True)
    save_file(
        {**{name: t.clone() for name, t in trunk.items()}, f"{prefix}.weight": head.weight.data},
        directory / "model.safetensors",
        metadata={"format": "pt"},
    )
    config = model.config.to_dict() | {
        "architectures": ["RewardModel"],
        "normalize_reward": False,
        "mean": 0.25,
        "std": 1.75,
        "use_cache": False,
    }
    if named:
        config["value_head_prefix"] = prefix
    (directory / "config.json").write_text(json.dumps(config))
    (tokenizer or make_tokenizer(chat=True, pad_is_eos=True)).save_pretrained(directory)
    oracle = value_at(model, head, at_last)
    return Foreign(directory, oracle, head.weight.data, None, trunk)


def deepspeed_chat(
    directory: Path, *, trunk_name: str = "rwtransformer", architecture: str = "gpt2"
) -> Foreign:
    """A pickled state dict of its RewardModel; PAD is EOS but for LLaMA."""
    own = {"ffn_dim": 64, "word_embed_proj_dim": 32, "dropout": 0.0}
    model = causal_lm(architecture, **(own if architecture == "opt" else {}))
    head = value_head(32, bias=False)
    tokenizer = make_tokenizer(pad_is_eos=architecture != "llama")
    skipped = 0
    if architecture == "opt":  # </s> before every text, which is its pad token too
        skipped = 1
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="</s> $A", special_tokens=[("</s>", tokenizer.eos_token_id)]
        )
    prefix = f"{model.base_model_prefix}."
    state = {
        f"{trunk_name}.{name.removeprefix(prefix)}": tensor
        for name, tensor in trunk_of(model).items()
    }
    if architecture == "gpt2":  # a buffer of the transformers of its day
        state[f"{trunk_name}.h.0.attn.bias"] = torch.ones(1, 1, 8, 8, dtype=torch.bool)
        state[f"{trunk_name}.h.0.attn.masked_bias"] = torch.tensor(-1e4)
    directory.mkdir(parents=True)
    torch.save({**state, "v_head.weight": head.weight.data}, directory / "pytorch_model.bin")
    config = model.config.to_dict() | {
        "architectures": [type(model).__name__],
        "end_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.eos_token_id,
    }
    (directory / "config.json").write_text(json.dumps(config))
    tokenizer.save_pretrained(directory)
    pad = tokenizer.pad_token_id

    def before_first_pad(ids: Sequence[int]) -> int:
        pads = [index for index, token in enumerate(ids) if token == pad]
        return (pads[skipped] if len(pads) > skipped else len(ids)) - 1

    oracle = value_at(model, head, before_first_pad)
    return Foreign(directory, oracle, head.weight.data, None, trunk_of(model))
