"""What of a reward model is trained: all of it, its upper layers, its head, or a LoRA adapter.

`prepare_for_training` prepares a model for the trainer and `export` makes plain transformers of it
again: merged into its base, or an adapter that the server puts on its base. This module is where
peft and bitsandbytes are met in training; `rm_core.checkpoint.adapters` reads what it writes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from rm_core.checkpoint.adapters import ADAPTER_NAME, WEIGHTS, inspect_adapter
from rm_core.checkpoint.heads import has_head_on_tokens, head_of
from rm_core.errors import ConfigurationError
from training.config import TrainingConfig
from training.modeling.reward_model import TrainableModel


@dataclass(frozen=True, slots=True)
class TrainedAdapter:
    """A LoRA adapter and its head, apart from the base.

    Attributes:
        settings: peft's `LoraConfig`.
        weights: by peft's names, float32 on the CPU.
    """

    settings: Any
    weights: dict[str, Tensor]


def check_trainable(config: TrainingConfig) -> None:
    """Refuse before anything is loaded what this machine or installation can't train."""
    if config.trainable in {"lora", "qlora"} and find_spec("peft") is None:
        raise ConfigurationError(
            f"trainable = {config.trainable!r} needs peft; install it with: "
            "pip install 'rewardd[lora]'"
        )
    if config.trainable != "qlora":
        return
    if not torch.cuda.is_available():
        raise ConfigurationError(
            "trainable = 'qlora' needs a CUDA device, and torch sees none here; train with 'lora'"
        )
    if find_spec("bitsandbytes") is None:
        raise ConfigurationError(
            "trainable = 'qlora' needs bitsandbytes; install it with: pip install 'rewardd[qlora]'"
        )


def quantisation_for(config: TrainingConfig) -> Any:
    """How the trunk is loaded: in 4 bits (NF4, doubly quantised) for QLoRA, else None.

    Source: QLoRA, arXiv 2305.14314 §3.
    """
    if config.trainable != "qlora":
        return None
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=["score", "classifier"],
    )


def prepare_for_training(start: TrainableModel, config: TrainingConfig) -> TrainableModel:
    """Let exactly those weights take gradients that `config.trainable` names.

    Args:
        start: changed in place; for LoRA the model that comes back is peft's wrapper of it.
        config: what to train.

    Raises:
        ConfigurationError: the model has no such layers, or its head can't be trained alone.
    """
    if config.trainable == "head":
        _refuse_random(start)
        start.model.requires_grad_(False)
        head_of(start.model).requires_grad_(True)
    elif config.trainable == "full":
        freeze_lowest(start.model, config.freeze_layers)
    else:
        return replace(start, model=_with_adapter(start.model, config))
    return start


def export(
    trained: TrainableModel,
    config: TrainingConfig,
    reload: Callable[[], TrainableModel],
) -> TrainableModel:
    """The trained model as it will be served, a plain transformers model in eval mode.

    An adapter is merged into its base or put on it in float32, so that what is measured next is
    what is published: a QLoRA adapter has been trained on a coarser base than it is served on.

    Args:
        trained: what `prepare_for_training` gave, after training.
        config: the recipe.
        reload: gives the base again in float32; called for QLoRA alone.
    """
    model, adapter = trained.model, None
    if config.trainable in {"lora", "qlora"}:
        adapter = _taken_from(model)
        if config.trainable == "qlora":
            model = _put_on(adapter, reload().model)
        if config.merge_adapter:
            model, adapter = model.merge_and_unload(safe_merge=True), None
        else:
            model = _unwrapped(model)
    model.requires_grad_(False).eval()
    return replace(trained, model=model, adapter=adapter)


def save_adapter(adapter: TrainedAdapter, base: TrainableModel, directory: Path) -> None:
    """Write an adapter checkpoint as peft does, and look at it as the server will.

    Args:
        adapter: what was trained.
        base: what it sits on; a base in a directory is named by its absolute path.
        directory: an existing one.

    Raises:
        CheckpointError: what was written could not be served; the head is missing, for one.
    """
    named = Path(base.base["name"])
    settings = adapter.settings
    settings.base_model_name_or_path = str(named.resolve()) if named.is_dir() else str(named)
    settings.inference_mode = True
    settings.save_pretrained(directory)
    save_file(adapter.weights, directory / WEIGHTS, metadata={"format": "pt"})
    inspect_adapter(directory)


def freeze_lowest(model: Any, count: int) -> None:
    """Freeze the first layers of a trunk and everything before them, its embeddings.

    Raises:
        ConfigurationError: the trunk has fewer layers, or none that can be told.
    """
    if count == 0:
        return
    wanted = model.config.get_text_config().num_hidden_layers
    found = [
        (name, module)
        for name, module in model.base_model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == wanted
    ]
    if not found:
        raise ConfigurationError(
            f"the layers of {type(model).__name__} can't be told; set `freeze_layers` to 0"
        )
    path, layers = found[0]
    if count > len(layers):
        raise ConfigurationError(
            f"`freeze_layers` is {count}, and the base has {len(layers)} layers"
        )
    # Modules register their parts in the order of the forward: what stands before the layers is
    # what makes their input, and what stands behind them reads their output.
    for name, parameter in model.base_model.named_parameters():
        if name.startswith(f"{path}."):
            break
        parameter.requires_grad_(False)
    for layer in layers[:count]:
        layer.requires_grad_(False)


def _refuse_random(start: TrainableModel) -> None:
    if start.random:
        raise ConfigurationError(
            f"the base lacks {', '.join(start.random[:3])} between trunk and head, which would "
            "stay as they were drawn; train with trainable = 'full' or 'lora'"
        )


def _with_adapter(model: Any, config: TrainingConfig) -> Any:
    """The model in peft's wrapper, with an adapter that is nothing yet and its head trainable."""
    from peft import LoraConfig, TaskType, get_peft_model, prepare_model_for_kbit_training

    if not config.merge_adapter and not has_head_on_tokens(model):
        raise ConfigurationError(
            f"{type(model).__name__} has no `score` head, and adapters are served for models that "
            "have one; leave `merge_adapter` on"
        )
    if config.trainable == "qlora":
        model = prepare_model_for_kbit_training(
            model, use_gradient_checkpointing=config.gradient_checkpointing
        )
    linear = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
    }
    trunk = f"{model.base_model_prefix}."
    in_trunk = {name: module for name, module in linear.items() if name.startswith(trunk)}
    targets = set(config.lora_target_modules) or {name.rpartition(".")[2] for name in in_trunk}
    _refuse_unknown_targets(targets, set(in_trunk))
    settings = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=sorted(targets),
        # What stands on the trunk is no matter for an adapter: it is new, so it is trained whole.
        exclude_modules=sorted(set(linear) - set(in_trunk)),
        modules_to_save=_modules_on(model),
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in in_trunk.values()),
    )
    wrapped = get_peft_model(model, settings, autocast_adapter_dtype=False)
    wrapped.peft_config[ADAPTER_NAME].modules_to_save = _modules_on(model)  # peft adds others
    return wrapped


def _refuse_unknown_targets(targets: set[str], in_trunk: set[str]) -> None:
    known = {name.rpartition(".")[2] for name in in_trunk}
    unknown = sorted(targets - known)
    if unknown:
        raise ConfigurationError(
            f"`lora_target_modules` names {', '.join(unknown)}; the trunk's linear layers are "
            f"{', '.join(sorted(known))}, and the head is always trained whole"
        )


def _modules_on(model: Any) -> list[str]:
    """Names of what stands on the trunk and has weights: the head, and an encoder's pooler."""
    return [
        name
        for name, module in model.named_children()
        if name != model.base_model_prefix and next(module.parameters(), None) is not None
    ]


def _taken_from(wrapped: Any) -> TrainedAdapter:
    from peft import get_peft_model_state_dict

    weights = get_peft_model_state_dict(
        wrapped, adapter_name=ADAPTER_NAME, save_embedding_layers=False
    )
    copied = {name: tensor.detach().float().cpu().clone() for name, tensor in weights.items()}
    return TrainedAdapter(wrapped.peft_config[ADAPTER_NAME], copied)


def _put_on(adapter: TrainedAdapter, model: Any) -> Any:
    from peft import get_peft_model, set_peft_model_state_dict

    wrapped = get_peft_model(model, adapter.settings, autocast_adapter_dtype=False)
    set_peft_model_state_dict(wrapped, adapter.weights, adapter_name=ADAPTER_NAME)
    return wrapped


def _unwrapped(wrapped: Any) -> Any:
    """The model with the adapter's layers in it and its trained head as a plain layer."""
    model = wrapped.get_base_model()
    model.score = model.score.modules_to_save[ADAPTER_NAME]
    return model
