"""OpenRLHF: transformers' trunk and a linear head without bias, of a class made while it runs.

The head's name is `value_head_prefix` of config.json ("score" today, "value_head" before), the
architecture is called RewardModel, and `mean` and `std` of the evaluation rewards stand in
config.json for those who ask it to normalise. Texts are tokenised with nothing added, end in EOS
(line breaks at their end are cut, EOS is added where absent), and the EOS is read.
Source: OpenRLHF/OpenRLHF 3c3be623, models/model.py, datasets/reward_dataset.py,
trainer/rm_trainer.py, cli/train_rm.py.
"""

from collections.abc import Mapping
from typing import Any

from rewardd.checkpoints.convert.names import architecture_of, trunk_of_causal_lm
from rewardd.checkpoints.convert.reading import chat_or_plain
from rewardd.checkpoints.convert.source import (
    Found,
    Head,
    Layout,
    ReadOptions,
    Source,
    architectures_of,
    normalisation_of,
)
from rewardd.checkpoints.convert.weights import take
from rm_core.errors import CheckpointError, MissingHead
from rm_core.text.contract import PositionContract

ARCHITECTURE = "RewardModel"
PREFIX_KEY = "value_head_prefix"
DEFAULT_PREFIXES = ("score", "value_head")


def recognise(found: Found) -> str | None:
    """Its architecture's name, its key in config.json, or its former name for the head."""
    if found.config is None:
        return None
    if ARCHITECTURE in architectures_of(found.config):
        return f"config.json names the architecture {ARCHITECTURE}"
    if found.config.get(PREFIX_KEY) is not None:
        return f"config.json has {PREFIX_KEY}"
    return "its weights hold value_head.weight" if "value_head.weight" in found.tensors() else None


def contract(tokenizer: Any, max_length: int) -> PositionContract:
    """Nothing added but EOS, which is read."""
    return chat_or_plain(tokenizer, max_length, plain_bos="never", eos="closing", read="last_token")


def read(found: Found, options: ReadOptions) -> Source:
    """The trunk and the head that config.json names."""
    del options
    if found.adapter is not None:
        raise CheckpointError(
            f"{found.directory} is a LoRA adapter of OpenRLHF's, which saves no head with it "
            "(OpenRLHF issue 872); merge it there with its lora_combiner and convert the result"
        )
    config = found.whole_config()
    weights = found.open(found.model, "model weights")
    prefix = _head_prefix(found, config, frozenset(weights))
    head = Head.of(take(weights, f"{prefix}.weight", found.directory), None, found.directory)
    trunk = architecture_of(config).prefix
    return Source(
        found=found,
        layout="openrlhf",
        config=config,
        weights=trunk_of_causal_lm(weights, trunk, heads={f"{prefix}.weight"}),
        head=head,
        contract=contract,
        normalisation=normalisation_of(config),
        notes=(
            "OpenRLHF puts a space before an EOS that it adds to a plain text in training, and its "
            "policies' samples have none; none is added here",
        ),
    )


def _head_prefix(found: Found, config: Mapping[str, Any], names: frozenset[str]) -> str:
    named = config.get(PREFIX_KEY)
    prefixes = DEFAULT_PREFIXES if named is None else (str(named),)
    prefix = next((prefix for prefix in prefixes if f"{prefix}.weight" in names), None)
    if prefix is None:
        raise MissingHead(
            f"{found.directory} has no tensor {' or '.join(f'{p}.weight' for p in prefixes)}, the "
            "head of an OpenRLHF reward model"
        )
    return prefix


LAYOUT = Layout("openrlhf", recognise, read)
