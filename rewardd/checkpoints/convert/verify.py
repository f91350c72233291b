"""The same dialogues through the source's own arithmetic and through what was written from it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from rewardd.checkpoints.convert.names import architecture_of
from rewardd.checkpoints.convert.source import LoraParts, Source
from rewardd.checkpoints.convert.value_heads import VALUE_HEADS
from rm_core.checkpoint.adapters import is_adapter
from rm_core.checkpoint.classifier import HEAD as HEAD_MODULE
from rm_core.checkpoint.golden import GoldenReward
from rm_core.checkpoint.load import load_reward_model
from rm_core.engine.engine import Engine
from rm_core.engine.forward.token_types import padded_token_types
from rm_core.errors import CheckpointError, InputError
from rm_core.text.encoder import TextEncoder
from rm_core.types import Dialogue, Encoded, Message, Role
from training.errors import ScoresDiffer
from training.modeling.reward_model import quiet_transformers

TOLERANCE = 1e-5
"""Largest difference in float32, absolute up to rewards of 1 and relative beyond."""

PROBES: tuple[Dialogue, ...] = (
    Dialogue("What is the capital of France?", "Paris."),
    Dialogue("What is the capital of France?", "I don't know; look it up yourself."),
    Dialogue("2 + 2 =", " 4"),
    Dialogue("Schreib einen Satz über Äpfel 🍎.", "Äpfel sind süß.\n"),
    Dialogue(
        "List three colours.",
        "1. red\n2. green\n3. blue\n\nEach of them is a primary colour of light, which is why "
        "screens are made of dots of these three.",
    ),
    Dialogue(
        (Message("user", "Hello."), Message("assistant", "Hello!"), Message("user", "Bye.")),
        "Goodbye, and take care.",
    ),
)
"""Short and long, equal prompts, more than one script, more than one turn."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two ways to the same rewards are apart.

    Attributes:
        probes: dialogues that were scored both ways.
        largest_difference: of their rewards.
        largest_reward: of the source's, without sign.
    """

    probes: int
    largest_difference: float
    largest_reward: float


def readable_probes(encoder: TextEncoder, eos: str | None) -> list[tuple[Dialogue, Encoded]]:
    """The probes that the checkpoint can read, with their texts.

    The first of them comes a second time with EOS at its end, as a policy's samples have it: with
    pad == EOS not everybody reads it.

    Args:
        encoder: by the target's contract.
        eos: the tokenizer's EOS as text; None where it has none.

    Raises:
        CheckpointError: it can read none.
    """
    ended = [replace(PROBES[0], response=f"{PROBES[0].response}{eos}")] if eos else []
    found: list[tuple[Dialogue, Encoded]] = []
    for probe in (*PROBES, *ended):
        try:
            found.append((probe, encoder.encode(probe)))
        except InputError:  # no template for messages, or too long for a very small model
            continue
    if not found:
        raise CheckpointError("the checkpoint's tokenizer can read none of the probe dialogues")
    return found


def agreement(
    expected: Sequence[float], found: Sequence[float], *, dropped_constant: float
) -> Agreement:
    """Compare rewards, and refuse those that differ.

    Args:
        expected: by the source's arithmetic.
        found: by what was written.
        dropped_constant: by how much `expected` is higher as it must be.

    Raises:
        ScoresDiffer: by more than `TOLERANCE`, or one is no number.
    """
    wanted = torch.tensor(expected, dtype=torch.float64) - dropped_constant
    apart = (wanted - torch.tensor(found, dtype=torch.float64)).abs()
    worst, largest = float(apart.max()), float(wanted.abs().max())
    if not bool((apart <= TOLERANCE * wanted.abs().clamp(min=1.0)).all()):  # false for NaN
        raise ScoresDiffer(
            f"the converted checkpoint scores the probe dialogues up to {worst:.2e} apart from its "
            f"source (at most {TOLERANCE:g} is equal), so nothing was written; see --read and "
            "--eos if the source reads another position, or report the architecture"
        )
    return Agreement(len(expected), worst, largest)


def source_rewards(
    source: Source, texts: Sequence[Encoded], pad_token_id: int | None
) -> list[float]:
    """Rewards by the source's own arithmetic, in float32, one text at a time.

    The hidden state at the position that its project reads, under its head.

    Args:
        source: as read.
        texts: as the target's contract reads the probes.
        pad_token_id: the pad token by which some projects find the position.
    """
    with quiet_transformers():
        if source.head is None:
            return _logits(_classifier_of(source), texts)
        if source.logit_token is not None:
            return _token_logits(source, source.logit_token, texts, pad_token_id)
        trunk = _trunk(source)
    rewards = []
    for text in texts:
        with torch.inference_mode():
            hidden: Tensor = trunk(**_inputs(text)).last_hidden_state
        state = hidden[0, source.position(text.input_ids, pad_token_id)]
        rewards.append(source.head.reward(state))
    return rewards


def _token_logits(
    source: Source, token: int, texts: Sequence[Encoded], pad_token_id: int | None
) -> list[float]:
    """What the language model itself gives a token behind each text."""
    model = AutoModelForCausalLM.from_pretrained(
        source.directory,
        dtype=torch.float32,
        use_safetensors=not source.pickled,
        trust_remote_code=False,
        local_files_only=True,
    ).eval()
    rewards = []
    for text in texts:
        with torch.inference_mode():
            logits: Tensor = model(**_inputs(text)).logits
        rewards.append(float(logits[0, source.position(text.input_ids, pad_token_id), token]))
    return rewards


def _trunk(source: Source) -> Any:
    if source.lora is not None:
        return _adapted_trunk(source, source.lora)
    architecture = architecture_of(source.config)
    tensors = {
        name.removeprefix(architecture.prefix): read() for name, read in source.weights.items()
    }
    return _made_of(source, architecture.trunk, architecture.config, tensors)


def _classifier_of(source: Source) -> Any:
    """Plain transformers' classifier of a source whose architecture has its own head."""
    architecture = architecture_of(source.config)
    tensors = {name: read() for name, read in source.weights.items()}
    return _made_of(source, architecture.classifier, architecture.config, tensors)


def _made_of(source: Source, factory: Any, config: Any, tensors: dict[str, Tensor]) -> Any:
    model, loading = factory.from_pretrained(
        None, config=config, state_dict=tensors, dtype=torch.float32, output_loading_info=True
    )
    missing = sorted(loading["missing_keys"])
    if missing:
        raise CheckpointError(
            f"{source.directory} lacks {', '.join(missing[:5])} of its {type(model).__name__}"
        )
    return model.eval()


def _adapted_trunk(source: Source, lora: LoraParts) -> Any:
    from peft import PeftConfig, PeftModel

    values = source.layout in VALUE_HEADS or source.named_head is not None
    base = AutoModelForCausalLM if values else AutoModelForSequenceClassification
    model = base.from_pretrained(
        lora.base_directory,
        dtype=torch.float32,
        trust_remote_code=False,
        local_files_only=True,
    )
    options: dict[str, Any] = {}
    if source.named_head is not None:  # a module that no class of transformers has
        own = PeftConfig.from_pretrained(str(source.directory))
        saved = own.modules_to_save or []
        own.modules_to_save = [
            name for name in saved if name not in {source.named_head, HEAD_MODULE}
        ]
        own.task_type = "CAUSAL_LM"
        options = {"config": own}
    adapted = PeftModel.from_pretrained(model, str(source.directory), **options)
    return adapted.get_base_model().base_model.eval()


def engine_rewards(directory: Path, role: Role, dialogues: Sequence[Dialogue]) -> list[float]:
    """Rewards as the server would give them."""
    with quiet_transformers():
        engine = Engine({role: load_reward_model(str(directory), role)})
    items = [engine.encode(dialogue) for dialogue in dialogues]
    return [found[role][0] for found in engine.forward(items)]


def golden_of(dialogues: Sequence[Dialogue], rewards: Sequence[float]) -> list[GoldenReward]:
    """What the converted checkpoint must give again: to dialogues of one prompt and one response.

    Args:
        dialogues: that were scored.
        rewards: of them, as the server gives them.
    """
    return [
        GoldenReward(dialogue.prompt, dialogue.response, reward)
        for dialogue, reward in zip(dialogues, rewards, strict=True)
        if isinstance(dialogue.prompt, str)
    ]


def plain_rewards(directory: Path, texts: Sequence[Encoded]) -> list[float]:
    """Rewards as plain transformers, or peft on top of it, gives them."""
    with quiet_transformers():
        return _logits(_classifier(directory), texts)


def _classifier(directory: Path) -> Any:
    options: dict[str, Any] = {"dtype": torch.float32, "trust_remote_code": False}
    if is_adapter(directory):
        from peft import AutoPeftModelForSequenceClassification

        model = AutoPeftModelForSequenceClassification.from_pretrained(
            str(directory), num_labels=1, **options
        )
    else:
        model = AutoModelForSequenceClassification.from_pretrained(
            directory, use_safetensors=True, local_files_only=True, **options
        )
    return model.eval()


def _logits(model: Any, texts: Sequence[Encoded]) -> list[float]:
    with torch.inference_mode():
        return [float(model(**_inputs(text)).logits[0, 0]) for text in texts]


def _inputs(text: Encoded) -> dict[str, Tensor]:
    """One text alone, (1, tokens), with its segments where it is a pair."""
    return {"input_ids": torch.tensor([text.input_ids]), **padded_token_types([text])}
