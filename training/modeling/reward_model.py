"""From a language model or an encoder to a reward model that has learned nothing yet."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification
from transformers.utils import logging

from rm_core.checkpoint.accounting import account, refuse_unaccounted
from rm_core.checkpoint.classifier import hidden_head, way_on
from rm_core.checkpoint.files import refuse_quantised
from rm_core.checkpoint.heads import (
    HEAD_BIAS,
    give_bias,
    has_head_on_tokens,
    head_of,
    read_head_bias,
)
from rm_core.checkpoint.json_files import in_short
from rm_core.checkpoint.load import (
    inspect_files,
    model_max_length,
    resolve_directory,
    weights_digest,
)
from rm_core.checkpoint.tokenizer import load_tokenizer
from rm_core.checkpoint.weights import stored_tensors, weight_files
from rm_core.engine.trunk.room import room_of
from rm_core.errors import CheckpointError, ConfigurationError, InputTooLong, MissingHead
from rm_core.text.contract import PositionContract, template_digest
from rm_core.text.encoder import TextEncoder
from rm_core.types import Dialogue

PAD_TOKEN = "<|rewardd_pad|>"  # noqa: S105 - a vocabulary entry, not a secret
ENCODER_TEMPLATE = (
    "{{ cls_token }}"
    "{% for message in messages %}{{ message['content'] }}{{ sep_token }}{% endfor %}"
)
"""How an encoder without a chat template gets its turns: each one ended as its sentences were."""

_CLOCK = "strftime_now"  # the only way to the clock that transformers gives a template
_PROBE = Dialogue(prompt="a", response="b")


@dataclass(frozen=True, slots=True)
class TrainableModel:
    """What training starts from.

    Attributes:
        model: transformers' sequence-classification model with one label, float32.
        tokenizer: its tokenizer, with a pad token of its own.
        encoder: dialogue → ids by the contract that the checkpoint will carry.
        pad_token_id: never EOS.
        base: name and weights of what it was initialised from, for the manifest.
        directory: where the base is.
        random: names of weights beside the head's that the base lacks, so that they were drawn.
        adapter: what training has made, where it is to be published apart from its base
            (`training.modeling.trainable.TrainedAdapter`); None for a whole model.
        layout: how training laid its batches out, and why; None: not yet, or on cached states.
    """

    model: Any
    tokenizer: Any
    encoder: TextEncoder
    pad_token_id: int
    base: dict[str, Any]
    directory: Path
    random: tuple[str, ...] = ()
    adapter: Any = None
    layout: dict[str, str] | None = None


def reward_model_from(
    base: str, *, max_length: int, seed: int, quantisation: Any = None
) -> TrainableModel:
    """Put a scalar head on a causal language model or on an encoder.

    A base that already is a reward model (one label) keeps its head and is trained further. An
    encoder without a chat template gets `ENCODER_TEMPLATE`, which its checkpoints carry.

    Args:
        base: directory or hub name; safetensors only, no remote code.
        max_length: most tokens to read; bounded by the base's positions.
        seed: of the head's initialisation.
        quantisation: transformers' configuration of a trunk in fewer bits; None for float32.

    Raises:
        CheckpointError: the base can't be loaded.
        ConfigurationError: its chat template or tokenizer can't serve a reward model.
    """
    directory = resolve_directory(base)
    config = inspect_files(directory)
    refuse_quantised(directory / "config.json", config)
    tokenizer = load_tokenizer(base, directory)
    _refuse_clocks(tokenizer)
    torch.manual_seed(seed)
    model, loading = _load(
        AutoModelForSequenceClassification,
        directory,
        base,
        num_labels=1,
        dtype=torch.float32,
        output_loading_info=True,
        **({} if quantisation is None else {"quantization_config": quantisation}),
    )
    if not _is_reward_model(config):
        initialise_head(model, seed=seed)
    else:
        _keep_head(base, directory, config, model, loading)
    encoder, pad_token_id = _encoder_of(model, tokenizer, max_length)
    _name_label(model.config)
    return TrainableModel(
        model=model,
        tokenizer=tokenizer,
        encoder=encoder,
        pad_token_id=pad_token_id,
        base={
            "name": base,
            "architecture": (config.get("architectures") or [None])[0],
            "weights_sha256": weights_digest(directory),
        },
        directory=directory,
        random=_random_beside_head(model, loading["missing_keys"]),
    )


def check_base(base: str) -> None:
    """Refuse what can be seen to be no base without loading it.

    Raises:
        CheckpointError: it isn't there, has no config, or its weights are pickled.
    """
    directory = resolve_directory(base)
    refuse_quantised(directory / "config.json", inspect_files(directory))


def encoder_from(base: str, *, max_length: int) -> TextEncoder:
    """The text encoder that `reward_model_from` gives, without loading a weight.

    Raises:
        CheckpointError: it lacks a config or a tokenizer that transformers can load.
        ConfigurationError: its chat template or tokenizer can't serve a reward model.
    """
    directory = resolve_directory(base)
    tokenizer = load_tokenizer(base, directory)
    _refuse_clocks(tokenizer)
    config = _load(AutoConfig, directory, base, num_labels=1)
    try:
        with torch.device("meta"):  # the architecture alone: it tells encoders from decoders
            model = AutoModelForSequenceClassification.from_config(config)
    except ValueError as error:
        raise CheckpointError(f"transformers can't make a reward model of {base}") from error
    return _encoder_of(model, tokenizer, max_length)[0]


def _keep_head(
    base: str, directory: Path, config: dict[str, Any], model: Any, loading: dict[str, Any]
) -> None:
    """Let a base that is a reward model already keep its head, and refuse one that has lost it.

    Raises:
        MissingHead: its head is not where transformers looks for it.
        CheckpointError: its head has hidden layers, or tensors have no place in the model.
    """
    stored = stored_tensors(weight_files(directory))
    if hidden_head(stored) is not None:
        raise CheckpointError(
            f"{base} has a head with hidden layers, and training starts from linear ones; take the "
            "language model that it was trained from as `base`"
        )
    lost = sorted(key for key in loading["missing_keys"] if "." in key)
    lost = [key for key in lost if not key.startswith(f"{model.base_model_prefix}.")]
    if lost:
        raise MissingHead(f"{base} lacks {', '.join(lost)}; {way_on(base, directory, stored)}")
    bias = read_head_bias(stored)
    if bias is not None:
        give_bias(getattr(model, "score", None), bias)
    placed = {HEAD_BIAS} & set(stored)
    accounts = account(model, stored, loading["unexpected_keys"], placed=placed)
    refuse_unaccounted(base, accounts, stored, config)


def initialise_head(model: Any, *, seed: int) -> None:
    """Draw the head from N(0, 1/(d+1)), d the hidden size, and set its bias to 0.

    Rewards then start with a standard deviation near 1 on normalised hidden states.
    Source: openai/summarize-from-feedback, openai/lm-human-preferences (head init 1/√(d+1)).

    Args:
        model: sequence-classification model with one label.
        seed: of a generator of its own, so that nothing drawn before matters.
    """
    head = head_of(model)
    generator = torch.Generator().manual_seed(seed)
    std = 1 / math.sqrt(head.in_features + 1)
    with torch.no_grad():
        drawn = torch.randn(head.weight.shape, generator=generator) * std
        head.weight.copy_(drawn.to(head.weight))
        if head.bias is not None:
            head.bias.zero_()


def disable_dropout(model: Any) -> None:
    """Switch every dropout off, in modules and in attention functions that take a probability.

    An adapter's own stays, as nobody has it who did not ask for it (`lora_dropout`).
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout) and ".lora_dropout." not in name:
            module.p = 0.0
        for attribute in ("attention_dropout", "dropout_prob", "activation_dropout"):
            if isinstance(getattr(module, attribute, None), float):
                setattr(module, attribute, 0.0)


def training_contract(tokenizer: Any, *, max_length: int) -> PositionContract:
    """The position contract of a reward model trained on this tokenizer.

    One BOS under a chat template, and without one whatever the tokenizer itself puts in front
    (GPT-2 has a BOS and never read one); one EOS where the template has not already ended the turn
    with it. The head reads the last token, which with a pad token of its own is the position that
    transformers reads too.

    Args:
        tokenizer: with the pad token already in place.
        max_length: most tokens.
    """
    template = tokenizer.chat_template
    if isinstance(template, str):
        contract = PositionContract(
            rendering="chat",
            bos="if_absent" if tokenizer.bos_token_id is not None else "never",
            eos="never",
            read="last_non_pad",
            max_length=max_length,
            template_sha256=template_digest(template),
        )
    else:
        contract = PositionContract(
            rendering="concatenate",
            bos="tokenizer",
            eos="never",
            read="last_non_pad",
            max_length=max_length,
        )
    if tokenizer.eos_token_id is None:
        return contract
    try:
        encoder = TextEncoder(tokenizer, contract, pad_token_id=tokenizer.pad_token_id)
        probe = encoder.encode(_PROBE)
    except InputTooLong as error:
        raise ConfigurationError(
            f"`max_length` is {max_length}, and a dialogue of two letters has {error.num_tokens} "
            "tokens already; raise it"
        ) from error
    if encoder.ends_with_eos(probe.input_ids):
        # Some templates write EOS and a line break: a second EOS would be one too many.
        return contract
    return PositionContract.from_json({**contract.to_json(), "eos": "if_absent"})


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without transformers' bars and its report that the head is missing, as it must be."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def tokenizer_of(base: str) -> Any:
    """The tokenizer of a directory or hub name, its chat template settled."""
    return load_tokenizer(base, resolve_directory(base))


def _load(factory: Any, directory: Path, base: str, **options: Any) -> Any:
    if factory is AutoModelForSequenceClassification:
        options["use_safetensors"] = True
    try:
        with quiet_transformers():
            return factory.from_pretrained(
                directory, trust_remote_code=False, local_files_only=True, **options
            )
    except Exception as error:  # models, configurations and files all raise their own kinds
        raise CheckpointError(f"transformers can't load {base} ({in_short(error)})") from error


def _is_reward_model(config: dict[str, Any]) -> bool:
    architectures = config.get("architectures") or []
    classifies = any(name.endswith("ForSequenceClassification") for name in architectures)
    return classifies and len(config.get("id2label") or {0: "", 1: ""}) == 1


def _encoder_of(model: Any, tokenizer: Any, max_length: int) -> tuple[TextEncoder, int]:
    """What turns dialogues into ids for this model, and the pad token that both now have."""
    pad_token_id = _own_pad_token(tokenizer, model)
    _give_encoder_template(tokenizer, model)
    # What the configuration promises may be more than the tables of positions hold.
    limit = room_of(model, min(max_length, model_max_length(model.config, tokenizer)))
    contract = training_contract(tokenizer, max_length=limit)
    return TextEncoder(tokenizer, contract, pad_token_id=pad_token_id), pad_token_id


def _own_pad_token(tokenizer: Any, model: Any) -> int:
    """Give tokenizer and model a pad token that is not EOS, and return its id.

    With pad == EOS transformers would read the token before the final EOS, and vLLM the EOS.
    """
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
    pad_token_id = int(tokenizer.pad_token_id)
    if pad_token_id >= model.get_input_embeddings().num_embeddings:
        known = model.get_input_embeddings().num_embeddings
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        # Masked, so its value is nothing's business; drawn, it would differ from seed to seed, and
        # trunks that are the same would not be equal.
        with torch.no_grad():
            model.get_input_embeddings().weight[known:] = 0.0
    tokenizer.padding_side = "right"
    model.config.pad_token_id = pad_token_id
    model.config.get_text_config().pad_token_id = pad_token_id
    return pad_token_id


def _give_encoder_template(tokenizer: Any, model: Any) -> None:
    """Without one, prompt and response would be one text, and no model could see where it turns."""
    marked = tokenizer.cls_token is not None and tokenizer.sep_token is not None
    if marked and tokenizer.chat_template is None and not has_head_on_tokens(model):
        tokenizer.chat_template = ENCODER_TEMPLATE


def _random_beside_head(model: Any, missing: Iterable[str]) -> tuple[str, ...]:
    head = head_of(model)
    (name,) = (name for name, module in model.named_modules() if module is head)
    return tuple(sorted(key for key in missing if not key.startswith(f"{name}.")))


def _name_label(config: Any) -> None:
    config.id2label = {0: "reward"}
    config.label2id = {"reward": 0}


def _refuse_clocks(tokenizer: Any) -> None:
    """A template that writes today's date makes the same text score differently tomorrow."""
    template = tokenizer.chat_template
    if isinstance(template, str) and _CLOCK in template:
        raise ConfigurationError(
            f"the base's chat template calls {_CLOCK}: it writes the current date, and a score "
            "would change from day to day; save its tokenizer with a template without dates"
        )
