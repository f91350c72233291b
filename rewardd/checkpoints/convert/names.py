"""Which names a model's tensors have in transformers, and its classes for a config.json."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_MAPPING,
)

from rewardd.checkpoints.convert.weights import Weights
from rm_core.checkpoint.accounting import is_known_leftover, told
from rm_core.checkpoint.heads import head_of
from rm_core.checkpoint.json_files import in_short
from rm_core.checkpoint.load import model_max_length
from rm_core.engine.trunk.room import room_of
from rm_core.errors import CheckpointError, UnaccountedWeights

LM_HEADS = ("lm_head.", "embed_out.", "output.")
WRAPPER = "pretrained_model."
"""What TRL's wrapper puts before every name where the whole of it was saved."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """transformers' classes for one kind of model.

    Attributes:
        config: the configuration object.
        classifier: the class for sequence classification.
        trunk: the class of the trunk alone.
        causal: the class for causal language modelling; None where there is none.
    """

    config: Any
    classifier: Any
    trunk: Any
    causal: Any

    @property
    def prefix(self) -> str:
        """What stands before the trunk's names in the other two classes."""
        return f"{self.classifier.base_model_prefix}."

    def room(self, tokenizer: Any) -> int:
        """The most tokens of a text, by configuration, tokenizer and tables of positions.

        The server, which has the weights, tries a text of that length as well.
        """
        with torch.device("meta"):
            model = self.classifier(self.config)
        return room_of(model, model_max_length(self.config, tokenizer))

    def own_head(self) -> str:
        """The name of the classifier's last layer: a decoder's `score`, an encoder's `classifier`.

        Raises:
            MissingHead: it ends in no linear layer with one output.
        """
        with torch.device("meta"):
            model = self.classifier(self.config)
        head = head_of(model)
        return next(str(name) for name, module in model.named_modules() if module is head)


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """The classes for a config.json.

    Raises:
        CheckpointError: transformers has no sequence classification for this kind of model.
    """
    kind = config.get("model_type")
    if kind not in CONFIG_MAPPING:
        raise CheckpointError(
            f"config.json's model_type is {kind!r}, which the installed transformers does not know"
        )
    # The labels' names decide on their number, whatever num_labels says.
    labels = {"id2label": {0: "reward"}, "label2id": {"reward": 0}}
    plain = {key: value for key, value in config.items() if key != "num_labels"}
    try:
        made = CONFIG_MAPPING[kind].from_dict({**plain, **labels})
    except Exception as error:  # each configuration checks its keys in its own way
        raise CheckpointError(
            f"transformers can't read config.json ({in_short(error)}); compare it with that of the "
            "model it was trained from"
        ) from error
    if type(made) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise CheckpointError(
            f"transformers has no sequence classification for model_type {kind}, so that a reward "
            "model of it can't be loaded"
        )
    return Architecture(
        config=made,
        classifier=MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(made)],
        trunk=MODEL_MAPPING[type(made)],
        causal=MODEL_FOR_CAUSAL_LM_MAPPING.get(type(made), None),
    )


def trunk_of_causal_lm(weights: Weights, prefix: str, *, heads: Collection[str] = ()) -> Weights:
    """A causal language model's trunk, by the names of the sequence classification model.

    Language-model heads and value heads are left out.

    Args:
        weights: as saved; some checkpoints have the trunk's names without their prefix.
        prefix: of the architecture.
        heads: names of the reward head's own tensors.

    Raises:
        UnaccountedWeights: there are tensors of neither trunk nor head.
    """
    named = {name.removeprefix(WRAPPER): read for name, read in weights.items()}
    beside = (*LM_HEADS, "v_head.", "score.", "value_head.")
    known = {name.removeprefix(WRAPPER) for name in heads}
    _refuse_part_of_head([name for name in named if name.startswith(beside)], known)
    if not any(name.startswith(prefix) for name in named):
        return {
            f"{prefix}{name}": read
            for name, read in named.items()
            if not name.startswith(beside) and name not in known
        }
    trunk = {name: read for name, read in named.items() if name.startswith(prefix)}
    others = sorted(
        name
        for name in named.keys() - trunk.keys() - known
        if not name.startswith(beside) and not is_known_leftover(name)
    )
    if others:
        raise UnaccountedWeights(
            f"the weights hold {told(others)}, which are of neither the trunk ({prefix}…) nor the "
            "head, and would be dropped; if one is the head, say so with --head, else remove them "
            "from the file"
        )
    return trunk


def _refuse_part_of_head(dropped: Collection[str], head: Collection[str]) -> None:
    """Refuse a head that is more than its linear layers: a norm between them, a scaled weight."""
    modules = {name.partition(".")[0] for name in head}
    part = sorted(
        name for name in dropped if name not in head and name.partition(".")[0] in modules
    )
    if part:
        raise UnaccountedWeights(
            f"the head {told(sorted(head))} stands in one module with {told(part)}, which would be "
            "dropped; rewardd serves heads of linear layers with one activation between them: fold "
            "the rest into these, or remove it from the file if the reward never went through it"
        )
