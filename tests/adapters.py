"""Small random LoRA adapters as peft saves them, and the bases they sit on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from rm_core.checkpoint.adapters import WEIGHTS
from tests.models import make_model, make_tokenizer

PROJECTIONS = {
    "gpt2": ["c_attn", "c_proj", "c_fc"],
    "gpt_neox": ["query_key_value", "dense"],
}
LLAMA_PROJECTIONS = ["q_proj", "v_proj", "o_proj", "down_proj"]


def save_base(directory: Path, architecture: str = "llama", *, seed: int = 0, **over: Any) -> Path:
    """Write a causal language model without a reward head, as adapters are trained on."""
    classifier = make_model(architecture, seed=seed, **over)
    model = AutoModelForCausalLM.from_config(classifier.config)
    model.base_model.load_state_dict(classifier.base_model.state_dict())
    model.save_pretrained(directory)
    make_tokenizer().save_pretrained(directory)
    return directory


def save_adapter(
    directory: Path,
    base: Path,
    *,
    seed: int,
    tokenizer: Any = None,
    architecture: str = "llama",
    task_type: str | None = "SEQ_CLS",
    **options: Any,
) -> Path:
    """Write an adapter with random layers and a random head, and return its directory."""
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    config = LoraConfig(
        task_type=task_type,
        **{
            "r": 4,
            "lora_alpha": 8,
            "target_modules": PROJECTIONS.get(architecture, LLAMA_PROJECTIONS),
            **options,
        },
    )
    adapted = get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            # Adapters start as nothing; a trained one moves rewards, and so must these.
            if "lora_B" in name:
                parameter.normal_(0.0, 0.3)
            elif "modules_to_save" in name and parameter.ndim == 2:
                parameter.normal_(0.0, parameter.shape[-1] ** -0.5)
    adapted.save_pretrained(directory)
    if tokenizer is not None:
        tokenizer.save_pretrained(directory)
    return directory


def edit_config(adapter: Path, **changes: Any) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_weights(adapter: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(adapter / WEIGHTS)
    change(weights)
    save_file(weights, adapter / WEIGHTS, metadata={"format": "pt"})
