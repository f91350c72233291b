"""A small causal language model from nothing but text: the demo's and the tests' base.

A BPE tokenizer and a Llama of a few million parameters, language-modelled on the dialogues of the
train split. It shows the whole path without a download; it is no substitute for a pretrained base.
"""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.utils.data import Dataset
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from rm_core.checkpoint.atomic import recover_directory, written_whole
from rm_core.errors import ConfigurationError, InputError
from rm_core.text.encoder import TextEncoder
from rm_core.types import Dialogue, Message
from training.errors import DataError
from training.modeling.reward_model import quiet_transformers, training_contract

BOS, EOS, PAD = "<|bos|>", "<|eos|>", "<|pad|>"
_ROLES = ("system", "user", "assistant")
_MARKS = tuple(f"<|{role}|>" for role in _ROLES)

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] | trim }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}"
    "{% elif messages[-1]['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
)
"""Role marks, one BOS, one EOS after a closing assistant turn; no dates, nothing random."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModelConfig:
    """Size and schooling of the small language model.

    Attributes:
        vocabulary: most tokens of the BPE vocabulary.
        hidden: the trunk's width.
        layers: decoder layers.
        heads: attention heads; divides `hidden`.
        max_length: positions.
        epochs: passes over the text.
        learning_rate: highest rate of AdamW, linear warm-up and decay.
        block: tokens of one training row; dialogues are laid end to end.
        batch_size: rows in an update.
        dropout: on attention weights while language-modelling.
        seed: of the weights and the order.
    """

    vocabulary: int = 4096
    hidden: int = 128
    layers: int = 2
    heads: int = 4
    max_length: int = 1024
    epochs: float = 4.0
    learning_rate: float = 2e-3
    block: int = 128
    batch_size: int = 16
    dropout: float = 0.0
    seed: int = 0


def make_base_model(
    dialogues: Sequence[Dialogue],
    output: Path,
    config: BaseModelConfig,
    *,
    callbacks: Sequence[TrainerCallback] = (),
) -> None:
    """Make a tokenizer and a causal LM from dialogues and write them to a directory.

    Args:
        dialogues: text to learn from; never held-out text.
        output: directory for config.json, model.safetensors and the tokenizer; it appears whole or
            not at all, in place of what stands there.
        config: sizes and schooling.
        callbacks: progress and the like.

    Raises:
        DataError: too little text to fill one training row.
        NotSaved: the disk is full or failed; what stood there stands as before.
    """
    tokenizer = make_tokenizer((_texts(dialogue) for dialogue in dialogues), config)
    torch.manual_seed(config.seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden,
            intermediate_size=config.hidden * 8 // 3,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads,
            max_position_embeddings=config.max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            attention_dropout=config.dropout,
            tie_word_embeddings=True,
        )
    )
    rows = _Rows(_token_stream(tokenizer, dialogues, config), config.block)
    with TemporaryDirectory() as unused:  # Trainer wants a place also where it saves nothing
        trainer = Trainer(
            model=model,
            args=_arguments(config, unused),
            train_dataset=rows,
            callbacks=list(callbacks),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    model.config.attention_dropout = 0.0
    with written_whole(output, advice="make room and make it again") as directory:
        with quiet_transformers():
            model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)


def check_base_output(output: Path) -> None:
    """Refuse a place where something stands that nobody asked to be replaced.

    Raises:
        ConfigurationError: a file, a directory that is not empty, or a place that can't be made.
    """
    recover_directory(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigurationError(f"{output} is there already; choose another --output")
    check_parent(output)


def check_parent(output: Path) -> None:
    """Refuse a place that can't be made, before the minutes of training that would be lost.

    Raises:
        ConfigurationError: what stands above it is a file, or can't be written.
    """
    above = next(place for place in output.absolute().parents if place.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise ConfigurationError(
            f"{output} can't be made: {above} is no directory that can be written; choose another"
        )


def make_tokenizer(
    texts: Iterable[Iterable[str]], config: BaseModelConfig
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with BOS, EOS, PAD and role marks, all distinct."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocabulary,
        min_frequency=2,
        special_tokens=[BOS, EOS, PAD, *_MARKS],
        # All bytes, so that no text is ever unknown.
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((text for group in texts for text in group), trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        additional_special_tokens=list(_MARKS),
        model_max_length=config.max_length,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


class _Rows(Dataset[dict[str, torch.Tensor]]):
    """A token stream cut into rows of equal length; a short rest is left out."""

    def __init__(self, stream: Sequence[int], block: int) -> None:
        count = len(stream) // block
        if not count:
            raise DataError(
                f"{len(stream)} tokens of text don't fill one row of {block}; give more text"
            )
        self._rows = torch.tensor(stream[: count * block], dtype=torch.long).view(count, block)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = self._rows[index]
        return {"input_ids": row, "labels": row}


def _token_stream(
    tokenizer: PreTrainedTokenizerFast, dialogues: Sequence[Dialogue], config: BaseModelConfig
) -> list[int]:
    """Dialogues as the reward model will read them, end to end in random order."""
    contract = training_contract(tokenizer, max_length=2**20)
    encoder = TextEncoder(tokenizer, contract, pad_token_id=tokenizer.pad_token_id)
    generator = torch.Generator().manual_seed(config.seed)
    stream: list[int] = []
    for index in torch.randperm(len(dialogues), generator=generator).tolist():
        with suppress(InputError):  # what the reward model can't read either
            stream.extend(encoder.encode(dialogues[index]).input_ids)
    return stream


def _texts(dialogue: Dialogue) -> tuple[str, ...]:
    prompt = dialogue.prompt
    turns: tuple[Message, ...] = (Message("user", prompt),) if isinstance(prompt, str) else prompt
    return (*(turn.content for turn in turns), dialogue.response)


def _arguments(config: BaseModelConfig, output: str) -> Any:
    return TrainingArguments(
        output_dir=output,
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.05,
        weight_decay=0.1,
        adam_beta2=0.95,
        max_grad_norm=1.0,
        use_cpu=not torch.cuda.is_available(),
        seed=config.seed,
        save_strategy="no",
        logging_steps=20,
        report_to=[],
        disable_tqdm=True,
    )
