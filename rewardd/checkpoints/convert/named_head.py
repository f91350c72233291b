"""A head that the user names: any tensor of its shape, or one row of a language model's head.

Reward models are saved under heads of every name (`regression_head`, `reward_head`, `v_head`), by
code that nobody has any more; whoever converts one says which tensor it is. Some have no head of
their own: their reward is the logit that the language model gives one token (Nemotron's reward
models read token 0), which is a linear head whose weight is that token's row. Texts and position
are read as in every checkpoint of plain transformers.
"""

import re
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from rewardd.checkpoints.convert.lora import read_adapter
from rewardd.checkpoints.convert.names import architecture_of, trunk_of_causal_lm
from rewardd.checkpoints.convert.reading import Contract, last_non_pad
from rewardd.checkpoints.convert.source import Found, Head, Layer, ReadOptions, Source
from rewardd.checkpoints.convert.weights import Weights, shapes_of, unwrapped
from rm_core.checkpoint.adapters import PREFIX
from rm_core.checkpoint.classifier import HEAD as SCORE
from rm_core.checkpoint.classifier import activation_of
from rm_core.checkpoint.stored_heads import StoredHead, bias_of, head_named, heads_of, names_of
from rm_core.checkpoint.weights import Stored
from rm_core.errors import CheckpointError, MissingHead

ROW = re.compile(r"^(?P<name>[\w.]+)\[(?P<token>\d+)\]$")
SCALES_LOGITS = (
    "final_logit_softcapping",
    "logit_scale",
    "logits_scaling",
    "lm_head_multiplier",
    "logits_soft_cap",
)
"""Keys of config.json by which a logit is more than its row times the hidden state."""


def read_named_head(found: Found, options: ReadOptions, name: str, contract: Contract) -> Source:
    """A trunk, or an adapter, under the head that the user names.

    Args:
        found: what the directory holds.
        options: the activation between a head's layers, and an adapter's base.
        name: of the head's module or weight, or `NAME[TOKEN_ID]`.
        contract: the position contract.

    Raises:
        MissingHead: no tensor of that name has the shape of a head.
        UnaccountedWeights: there are tensors of neither trunk nor head.
        CheckpointError: the model's logits are no rows alone, or an activation is not said.
    """
    if found.adapter is not None:
        return _read_adapter(found, options, name, contract)
    config = found.whole_config()
    weights = unwrapped(found.open(found.model, "model weights"))
    architecture = architecture_of(config)
    row = ROW.match(name)
    if row is not None:
        token = int(row["token"])
        head = _row(found, weights, row["name"], token)
        own: frozenset[str] = frozenset()
    else:
        token = None
        head, own = _named(found, options, name, weights)
    place = architecture.own_head()
    if place == SCORE:
        weights = trunk_of_causal_lm(weights, architecture.prefix, heads=own)
    else:
        weights = _in_its_place(found, weights, head, own, place)
    return Source(
        found=found,
        layout="transformers",
        config=config,
        weights=weights,
        head=head if place == SCORE else None,
        contract=contract,
        position=last_non_pad,
        pad="keep",
        logit_token=token,
    )


def _in_its_place(
    found: Found, weights: Weights, head: Head, own: frozenset[str], place: str
) -> Weights:
    """An encoder's tensors, the named head where its class has its last layer."""
    if head.before or not own:
        raise CheckpointError(
            f"{found.directory} is an encoder, whose class has a head of its own ({place}): only a "
            "linear layer of another name can take its place"
        )
    bias = head.weight.new_zeros(1) if head.bias is None else head.bias
    placed = {f"{place}.weight": head.weight, f"{place}.bias": bias}
    kept = {name: read for name, read in weights.items() if name not in own}
    return {**kept, **{name: partial(_given, tensor) for name, tensor in placed.items()}}


def _given(tensor: Tensor) -> Tensor:
    return tensor


def _read_adapter(found: Found, options: ReadOptions, name: str, contract: Contract) -> Source:
    weights = found.open(found.adapter_weights, "adapter_model.safetensors")
    head, own = _named(found, options, name, weights)
    source = read_adapter(
        found, options, layout="transformers", head=head, contract=contract, head_names=own
    )
    module = min(own, key=len).removeprefix(PREFIX).partition(".")[0]
    return replace(source, position=last_non_pad, named_head=module)


def _named(
    found: Found, options: ReadOptions, name: str, weights: Weights
) -> tuple[Head, frozenset[str]]:
    stored = shapes_of(found.adapter_weights or found.model, weights)
    if found.adapter is None:
        stored = unwrapped(stored)
    head = head_named(stored, name) or head_named(stored, f"{PREFIX}{name}")
    if head is None:
        raise MissingHead(f"{found.directory}: {_not_there(stored, name)}")
    activation = None
    if len(head.layers) > 1:
        activation = options.head_activation or activation_of(found.name, head, found.config or {})
    return head_from(weights, head, activation, found), names_of(stored, head)


def _not_there(stored: Stored, name: str) -> str:
    shape = next((t.shape for key, t in stored.items() if key in {name, f"{name}.weight"}), None)
    others = [head.name for head in heads_of(stored)]
    known = f"these have: {', '.join(others)}" if others else "no tensor has"
    if shape is None:
        return f"there is no tensor {name} with the shape of a head, (1, hidden); {known}"
    return (
        f"{name} is {shape}, and a reward head is (1, hidden); {known}. One row of a language "
        "model's head is written as NAME[TOKEN_ID]"
    )


def head_from(weights: Weights, head: StoredHead, activation: str | None, found: Found) -> Head:
    """Read a head's tensors.

    Args:
        weights: that hold it.
        head: as its shapes show it.
        activation: between its layers.
        found: for the message.

    Raises:
        WrongNumLabels: it gives more than one number.
    """
    *before, last = head.layers
    made = Head.of(*_layer(weights, last), found.directory)
    layers = tuple(_layer(weights, name) for name in before)
    return replace(made, before=layers, activation=activation if layers else None)


def _layer(weights: Weights, name: str) -> Layer:
    bias = weights.get(bias_of(name))
    return weights[name](), None if bias is None else bias()


def _row(found: Found, weights: Weights, name: str, token: int) -> Head:
    config = found.config or {}
    scaled = [key for key in SCALES_LOGITS if config.get(key) not in {None, 1}]
    if scaled:
        raise CheckpointError(
            f"{found.directory} scales its logits ({scaled[0]}), so that none is a row of its head "
            "alone; rewardd can't serve it"
        )
    full = next((key for key in (name, f"{name}.weight") if key in weights), None)
    if full is None and name in {"lm_head", "lm_head.weight"} and _is_tied(config):
        full = next((key for key in weights if key.endswith(EMBEDDINGS)), None)
    if full is None:
        raise MissingHead(f"{found.directory} has no tensor {name}, and none that is tied to it")
    matrix = weights[full]()
    if matrix.ndim != 2 or token >= matrix.shape[0]:
        raise MissingHead(f"{full} is {tuple(matrix.shape)} and has no row {token}")
    bias = weights.get(bias_of(full))
    own = None if bias is None else bias()[token : token + 1].clone()
    return Head.of(matrix[token : token + 1].clone(), own, found.directory)


EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")


def _is_tied(config: Any) -> bool:
    return bool(architecture_of(config).config.get_text_config().tie_word_embeddings)
