"""How many tokens a model has room for, which is not always what its configuration promises.

RoBERTa and its kin count positions from the pad token's id on, so that a table of 514 rows holds
512 tokens; others have tables that their configuration doesn't name. A text beyond the room raises
in the middle of a batch, on CUDA with the device lost, so the limit is found at loading: first by
the tables' shapes, then, on the CPU, by running one text of that length through the first layer.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from rm_core.checkpoint.load import RewardModel
from rm_core.engine.trunk.kept_state import KeptState
from rm_core.engine.trunk.vocabulary import end_token, special_tokens, vocabulary_size

TRIED_WHOLE = 1024
"""Tokens up to which the limit is always tried; beyond only where there is a table of such size."""

_FEW_ROWS = 16


class _FirstLayerRan(Exception):
    """Raised to leave a forward once the first layer has taken the text."""


def fitted(model: RewardModel) -> RewardModel:
    """The same model, its limit lowered to the tokens that it has room for."""
    room = room_of(model.model, model.profile.max_length)
    if room == model.profile.max_length:
        return model
    encoder = model.encoder.with_max_length(room)
    return replace(model, encoder=encoder, profile=replace(model.profile, max_length=room))


def room_told(model: RewardModel, promised: int) -> str | None:
    """Why a model's limit is lower than what its checkpoint says; None where it isn't."""
    room = model.profile.max_length
    if room == promised:
        return None
    return f"its checkpoint says {promised}, and its tables of positions have room for {room}"


def room_of(model: Any, limit: int) -> int:
    """The most tokens, up to `limit`, that a model can be given.

    Args:
        model: for sequence classification, fresh; it is left as it was.
        limit: what its configuration and tokenizer say.
    """
    known = min([limit, *_rooms_of_tables(model)])
    if model.device.type != "cpu" or not _worth_a_trial(model, known):
        return known
    state = KeptState(model)
    try:
        return known if _takes(model, known) else _most_taken(model, known)
    finally:
        state.restore()


def _rooms_of_tables(model: Any) -> Iterator[int]:
    """Tokens that each table of positions holds, where its rows tell that."""
    for name, table in _tables(model):
        if "position" in name and table.padding_idx is not None:
            yield max(1, table.num_embeddings - table.padding_idx - 1)


def _tables(model: Any) -> Iterator[tuple[str, nn.Embedding]]:
    try:
        tokens = model.get_input_embeddings()
    except NotImplementedError:
        tokens = None
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and module is not tokens:
            yield name.rpartition(".")[2], module


def _worth_a_trial(model: Any, limit: int) -> bool:
    """Whether a text of that length is cheap, or runs against a table."""
    if limit <= TRIED_WHOLE:
        return True
    sizes = [table.num_embeddings for _, table in _tables(model)]
    sizes += [size for buffer in model.buffers() for size in buffer.shape]
    return any(limit // 2 <= size <= limit + _FEW_ROWS for size in sizes)


def _most_taken(model: Any, limit: int) -> int:
    """By halving: what a table takes, it takes shorter too. 0 where it takes nothing."""
    fewest, beyond = 0, limit
    while beyond - fewest > 1:
        middle = (fewest + beyond) // 2
        if _takes(model, middle):
            fewest = middle
        else:
            beyond = middle
    # A model that takes nothing has other troubles than room.
    return fewest or limit


@torch.inference_mode()
def _takes(model: Any, length: int) -> bool:
    ids = torch.full((1, length), _ordinary_token(model), device=model.device)
    end = end_token(model)
    if end is not None:
        ids[0, -1] = end
    hook = _after_first_layer(model)
    try:
        model(input_ids=ids)
    except _FirstLayerRan:
        return True
    except Exception:  # models raise what they like
        return False
    finally:
        if hook is not None:
            hook.remove()
    return True


def _ordinary_token(model: Any) -> int:
    special = special_tokens(model)
    return next((i for i in range(vocabulary_size(model)) if i not in special), 0)


def _after_first_layer(model: Any) -> Any:
    """A hook that leaves the forward at the second layer; None where layers aren't in one list."""
    lists = [
        module
        for module in model.base_model.modules()
        if isinstance(module, nn.ModuleList) and len(module) > 1
    ]
    if model.config.is_encoder_decoder or not lists:
        return None

    def leave(_module: nn.Module, _inputs: tuple[Tensor, ...]) -> None:
        raise _FirstLayerRan

    return max(lists, key=len)[1].register_forward_pre_hook(leave)
