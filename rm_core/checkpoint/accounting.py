"""One account of every tensor in a checkpoint's files: used, left over for a known reason, refused.

transformers drops what its class has no place for, and draws what the files lack. Either changes
rewards without a word, so a checkpoint is served only where nothing is lacking and every tensor
that isn't used is known to add nothing.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rm_core.checkpoint.inner_layer import InnerLayer
from rm_core.checkpoint.stored_heads import heads_of
from rm_core.checkpoint.weights import Stored, StoredTensor, read_tensor
from rm_core.errors import UnaccountedWeights

Fate = Literal["used", "left over", "refused"]

KNOWN_LEFTOVERS: Mapping[str, str] = {
    r"(^|\.)(lm_head|embed_out)(\.|$)": "a language model's head",
    r"^(cls|generator_lm_head|generator_predictions|discriminator_predictions)\.|^vocab_\w+\.": (
        "a pretraining head"
    ),
    r"(^|\.)(rotary_emb|rotary|rope)\.(original_)?inv_freq$": "a buffer that is computed anew",
    r"(^|\.)(position_ids|token_type_ids|relative_position_index)$": (
        "a buffer that is computed anew"
    ),
    r"(^|\.)masked_bias$": "a mask that is computed anew",
    r"(^|\.)pooler\.": "a pooler that the class doesn't have",
}
"""Names of what a sequence classifier's reward does not depend on, and what each is."""

CAUSAL_MASK = re.compile(r"(^|\.)(attn|attention|self_attn)\.bias$")
"""Old checkpoints of GPT-2 and its kin keep their causal mask under this name, in four axes."""

BIAS_SWITCHES = (
    "attention_bias",
    "mlp_bias",
    "qkv_bias",
    "use_qkv_bias",
    "add_qkv_bias",
    "use_bias",
    "bias",
    "add_bias_linear",
)
"""Keys of config.json that take biases out of a model."""

WRAPPERS = ("module.", "_orig_mod.", "base_model.model.", "pretrained_model.", "model._orig_mod.")
"""What DDP, torch.compile, peft and TRL put before every name of what they wrap."""

NO_PLACE = "the model has no place for it"
ABOVE = "above the layer that is read"
_INTEGERS = re.compile(r"^(I|U)\d+$|^BOOL$|^F4$")
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class TensorAccount:
    """What became of one tensor.

    Attributes:
        name: in the files.
        fate: whether the reward depends on it.
        reason: why not, where it doesn't; "" where it does.
    """

    name: str
    fate: Fate
    reason: str = ""


def account(
    model: Any,
    stored: Stored,
    unexpected: Collection[str],
    *,
    placed: Collection[str] = (),
    brings_head: bool = False,
    inner: InnerLayer | None = None,
) -> tuple[TensorAccount, ...]:
    """Say of every tensor what became of it; the checkpoint's name is told by `refuse_unaccounted`.

    Args:
        model: as transformers made it from these files.
        stored: every tensor in the files that were read.
        unexpected: names that transformers had no place for.
        placed: names that went into the model otherwise than by transformers.
        brings_head: whether an adapter brings the head, so that one of the base's adds nothing.
        inner: where the model is read at an inner layer; None: at its last.
    """
    names = set(model.state_dict())
    prefix = f"{model.base_model_prefix}."
    heads = {name for head in heads_of(stored) for name in head.layers} if brings_head else set()
    rivals = _rivals(stored, prefix)
    ignored = _ignored_by(model)
    accounts = []
    for name, tensor in stored.items():
        fate: Fate = "used"
        reason = ""
        target = next((n for n in _targets(name, prefix) if n in names), None)
        if name in rivals:
            fate, reason = "refused", f"{rivals[name]} too, which is the same parameter"
        elif name in placed:
            pass
        elif inner is not None and inner.is_above(name, prefix):
            fate, reason = "left over", ABOVE
        elif name in unexpected:
            why = "an adapter brings the head" if name in heads else _adds_nothing(tensor)
            fate, reason = ("left over", why) if why else ("refused", NO_PLACE)
        elif target is None and (why := _left_out(tensor, ignored)) is not None:
            fate, reason = "left over", why
        elif target is not None and _INTEGERS.match(tensor.dtype) and _is_float(model, target):
            fate, reason = (
                "refused",
                f"its numbers are {tensor.dtype}: quantised, or no weights at all",
            )
        accounts.append(TensorAccount(name, fate, reason))
    accounts += [
        TensorAccount(name, "refused", NO_PLACE)
        for name in sorted(set(unexpected) - set(stored))
        if inner is None or not inner.is_above(name, prefix)
    ]
    return tuple(accounts)


def _targets(name: str, prefix: str) -> tuple[str, ...]:
    return name, f"{prefix}{name}", name.removeprefix(prefix)


def _is_float(model: Any, target: str) -> bool:
    return bool(model.state_dict()[target].is_floating_point())


def _rivals(stored: Stored, prefix: str) -> dict[str, str]:
    """Of names that transformers takes for the same parameter, each with the other."""
    first: dict[str, str] = {}
    rivals: dict[str, str] = {}
    for name in stored:
        plain = name.removeprefix(prefix)
        plain = re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", plain))
        if plain in first:
            rivals |= {name: first[plain], first[plain]: name}
        first[plain] = name
    return rivals


def _ignored_by(model: Any) -> re.Pattern[str]:
    """What of the names transformers' class leaves out in silence."""
    patterns = [*(model._keys_to_ignore_on_load_unexpected or ()), r"rotary_emb\.inv_freq"]
    return re.compile("|".join(f"({pattern})" for pattern in patterns))


def _adds_nothing(tensor: StoredTensor) -> str | None:
    """Why no reward depends on a tensor that has no place; None where that isn't known."""
    known = _known_leftover(tensor)
    if known is None and tensor.name.endswith(".bias") and not bool(read_tensor(tensor).any()):
        return "a bias of zeros"
    return known


def _left_out(tensor: StoredTensor, ignored: re.Pattern[str]) -> str | None:
    """Why transformers leaves a tensor out without a word; None for one that it renames."""
    known = _known_leftover(tensor)
    return known or ("transformers ignores it" if ignored.search(tensor.name) else None)


def _known_leftover(tensor: StoredTensor) -> str | None:
    if CAUSAL_MASK.search(tensor.name) and len(tensor.shape) == 4:
        return "a mask that is computed anew"
    found = (why for pattern, why in KNOWN_LEFTOVERS.items() if re.search(pattern, tensor.name))
    return next(found, None)


def refuse_unaccounted(
    name: str, accounts: Sequence[TensorAccount], stored: Stored, config: Mapping[str, Any]
) -> None:
    """Refuse a checkpoint with tensors that its model leaves out, and say the way on.

    Args:
        name: of the checkpoint.
        accounts: of all its tensors.
        stored: the tensors.
        config: the content of config.json.

    Raises:
        UnaccountedWeights: there are such tensors.
    """
    refused = [entry for entry in accounts if entry.fate == "refused"]
    wrong = next((entry for entry in refused if entry.reason != NO_PLACE), None)
    if wrong is not None:
        raise UnaccountedWeights(
            f"{name} holds {wrong.name}, and {wrong.reason}; keep the tensor that was trained"
        )
    if refused:
        names = [entry.name for entry in refused]
        raise UnaccountedWeights(
            f"{name} holds {told(names)}, for which its architecture has no place; "
            f"{_way_on(name, names, stored, config)}"
        )


def _way_on(name: str, names: Sequence[str], stored: Stored, config: Mapping[str, Any]) -> str:
    """What to do with tensors for which a model has no place."""
    heads = [head for head in heads_of(stored) if set(head.layers) & set(names)]
    switches = [key for key in BIAS_SWITCHES if config.get(key) is False]
    if heads:
        return (
            f"{heads[0].shape} looks like a head beside the one that is read: choose it with "
            f"`rewardd convert {name} OUTPUT --head {heads[0].name}`, or remove it"
        )
    if switches and all(entry.endswith(".bias") for entry in names):
        return (
            f"config.json says {switches[0]}: false, and transformers would drop what that "
            "switches off: say true if the model was trained with it, or remove it from the file"
        )
    return (
        "transformers would drop what has none: take the config.json that the model was trained "
        "with, or remove what is no part of it from the file"
    )


def is_known_leftover(name: str) -> bool:
    """Whether a name is that of a tensor on which no reward depends."""
    return any(re.search(pattern, name) for pattern in KNOWN_LEFTOVERS)


def refuse_lacking(name: str, missing: Sequence[str], stored: Stored) -> None:
    """Refuse a checkpoint whose files lack weights, which transformers would draw at random.

    Raises:
        UnaccountedWeights: they do.
    """
    if not missing:
        return
    wrapper = wrapper_of(stored)
    advice = "fetch or save the checkpoint whole"
    if wrapper is not None:
        advice = (
            f"all names begin with {wrapper!r}, as a wrapper writes them; `rewardd convert {name} "
            "OUTPUT` takes it off"
        )
    raise UnaccountedWeights(
        f"{name} lacks the weights {told(missing)}, which would be random; {advice}"
    )


def wrapper_of(names: Collection[str]) -> str | None:
    """What a wrapper put before every name; None where there is no such thing."""
    return next((w for w in WRAPPERS if names and all(n.startswith(w) for n in names)), None)


def told(names: Sequence[str]) -> str:
    """The first few of some names, and how many there are."""
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
