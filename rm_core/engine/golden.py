"""The last look before a model is ready: finite rewards that differ, and are its maker's."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rm_core.checkpoint.golden import GoldenReward
from rm_core.checkpoint.heads import has_head_on_tokens, head_of
from rm_core.checkpoint.load import RewardModel
from rm_core.checkpoint.manifest import HeadKind
from rm_core.engine.forward.batched import BatchedForward
from rm_core.engine.forward.mean_head import AveragingForward
from rm_core.errors import InputError, UnsoundModel
from rm_core.text.encoder import TextEncoder
from rm_core.types import Dialogue, ModelName, Scorer

if TYPE_CHECKING:
    from rm_core.engine.forward.base import Forward

TOLERANCE = 0.01
"""Largest difference from a golden reward in float32; absolute up to rewards of 1, then relative.

Another machine's products differ by 1e-5; another attention, rendering or precision by more."""

REDUCED_TOLERANCE = 0.15
"""The same where the weights are in fewer bits than float32."""

DIALOGUES = (
    Dialogue("What is the capital of France?", "Paris."),
    Dialogue("What is the capital of France?", "I don't know; look it up yourself."),
    Dialogue("2 + 2 =", " 4"),
    Dialogue(
        "List three colours.",
        "1. red\n2. green\n3. blue\n\nEach of them is a primary colour of light.",
    ),
)


def golden_rewards(model: Any, encoder: TextEncoder, head: HeadKind) -> list[GoldenReward]:
    """What a model in memory gives to a few dialogues, one at a time.

    Args:
        model: transformers' model with a head of one output; its mode is left as it was.
        encoder: by the contract that is published with it.
        head: where a response's reward is read.
    """
    readable = []
    for dialogue in DIALOGUES:
        try:
            readable.append((dialogue, encoder.encode(dialogue)))
        except InputError:
            continue
    forward: Forward = BatchedForward(
        model, heads=[head_of(model)], reason="golden rewards", together="one_by_one"
    )
    if head == "mean" and has_head_on_tokens(model):
        forward = AveragingForward(forward, [True])
    was_training = model.training
    model.eval()
    try:
        rewards = [forward.rewards([text])[0][0] for _, text in readable]
    finally:
        model.train(was_training)
    return [
        GoldenReward(str(dialogue.prompt), dialogue.response, float(reward))
        for (dialogue, _), reward in zip(readable, rewards, strict=True)
    ]


def refuse_unsound_rewards(engine: Scorer, models: Mapping[ModelName, RewardModel]) -> None:
    """Refuse models whose rewards are no numbers, all the same, or not those of their maker.

    Args:
        engine: as it will serve them.
        models: the same, as they were loaded.

    Raises:
        UnsoundModel: one of them is.
    """
    known = {name: model.golden for name, model in models.items()}
    dialogues = list(DIALOGUES)
    dialogues += [Dialogue(one.prompt, one.response) for own in known.values() for one in own]
    rewards: dict[tuple[str, str], Mapping[ModelName, Sequence[float]]] = {}
    ids: dict[ModelName, set[tuple[int, ...]]] = {name: set() for name in models}
    for dialogue in dialogues:
        key = (str(dialogue.prompt), dialogue.response)
        if key in rewards:
            continue
        try:
            item = engine.encode(dialogue)
        except InputError:  # not for these models: no template, or too short a model
            continue
        rewards[key] = engine.forward([item])[0]
        for name in models:
            ids[name].add(item.by_model[name].input_ids)
    for name, model in models.items():
        found = [rewards[key][name][0] for key in rewards]
        _refuse_constant(model.profile.name, found, texts=len(ids[name]))
        _refuse_other(model, {key: rewards[key][name][0] for key in rewards})


def _refuse_constant(name: str, rewards: Sequence[float], *, texts: int) -> None:
    if not all(math.isfinite(reward) for reward in rewards):
        raise UnsoundModel(
            f"{name} gives rewards that are no finite numbers; its weights hold NaN or overflow "
            "in this dtype: take an earlier checkpoint, or --dtype float32"
        )
    if texts > 2 and len(set(rewards)) == 1:
        raise UnsoundModel(
            f"{name} gives {texts} different texts the same reward, {rewards[0]:g}; its weights "
            "are damaged, or it was never trained"
        )


def _refuse_other(model: RewardModel, found: Mapping[tuple[str, str], float]) -> None:
    weights = {str(parameter.dtype) for parameter in model.model.parameters()}
    tolerance = TOLERANCE if weights == {"torch.float32"} else REDUCED_TOLERANCE
    for one in model.golden:
        reward = found.get((one.prompt, one.response))
        if reward is None:
            continue
        apart = abs(reward - one.reward)
        if not apart <= tolerance * max(1.0, abs(one.reward)):
            raise UnsoundModel(
                f"{model.profile.name} gives {reward:.6g} where golden_rewards.json says "
                f"{one.reward:.6g} (at most {tolerance:g} apart is equal): it is run otherwise "
                "than its maker ran it, or its files were exchanged; fetch it again, or train and "
                "convert it anew"
            )
