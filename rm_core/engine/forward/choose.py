"""The choice of a model's forward pass: packed without padding, or in batches where it must be.

Packed is the way for models whose attention transformers lets us replace: decoders over trees of
shared prefixes, encoders over texts end to end. Batches serve every other model. The ways are tried
one after the other, the fastest first, and a model goes the first whose rewards are those of each
text alone by transformers' own forward; one that has none is refused.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import Linear

from rm_core.checkpoint.heads import has_head_on_tokens, head_of
from rm_core.checkpoint.load import RewardModel
from rm_core.engine.forward.base import Forward, TextDemands
from rm_core.engine.forward.batched import BatchedForward
from rm_core.engine.forward.batches import Together
from rm_core.engine.forward.by_length import LengthClassForward, class_borders
from rm_core.engine.forward.compiled import compiled_packed
from rm_core.engine.forward.encoder import EncoderRows, encoder_rows
from rm_core.engine.forward.keeping import keep_prefixes
from rm_core.engine.forward.packed import PackedForward, PackedWay, packed_ways
from rm_core.engine.forward.self_test import Trial, company_texts, told, why_bits_differ
from rm_core.engine.options import AS_LOADED, EngineOptions
from rm_core.engine.trunk.chunked import chunk_rows
from rm_core.engine.trunk.last_layer import read_all_rows
from rm_core.engine.trunk.products.choose import ProductChoice, choose_products
from rm_core.engine.trunk.products.in_place import multiply_as_before, multiply_in_place
from rm_core.engine.trunk.sliding_window import hidden_windows
from rm_core.engine.trunk.vocabulary import end_token
from rm_core.errors import ConfigurationError, MissingHead, UnsupportedModel
from rm_core.types import Encoded

_TOGETHER: dict[Together, str] = {
    "padded": "padded",
    "equal_lengths": "texts of equal length together",
    "one_by_one": "texts one by one",
}
"""The ways in batches by what is said of them, the fastest first."""


@dataclass(frozen=True, slots=True)
class _RowsWay:
    """An encoder's packed way; see `PackedWay`."""

    name: str
    model: Any
    heads: Sequence[Linear]
    products: ProductChoice

    def make(self) -> EncoderRows:
        """Set the model up for rows."""
        if self.products.onednn is not None:
            multiply_in_place(self.model.base_model, self.products.onednn.product)
        return encoder_rows(self.model, heads=self.heads)


def choose_forward(
    reward_model: RewardModel,
    heads: Sequence[Linear] = (),
    *,
    reduced: bool = False,
    options: EngineOptions = AS_LOADED,
    ruled_out: Sequence[str] = (),
) -> Forward:
    """The fastest way that gives the model's own rewards.

    Args:
        reward_model: the checkpoint whose trunk is run.
        heads: further heads on the same trunk.
        reduced: whether the trunk was reduced in precision, so that ways round differently.
        options: what was asked for; where layers can't be compiled, they run as they are.
        ruled_out: faster ways that it can't go, and why, as sentences.

    Raises:
        UnsupportedModel: no way gives each text the reward that it has alone.
        ConfigurationError: `deterministic` is asked of a model that can't run packed, or products
            are asked for that there are not.
    """
    model, name = reward_model.model, reward_model.profile.name
    max_length = reward_model.profile.max_length
    try:
        head_of(model)
        trial = Trial.of(model, heads, max_length, reduced=reduced)
    except MissingHead:
        raise
    except Exception as error:  # models raise what they like
        raise UnsupportedModel(
            f"{name} can't be scored: {type(model).__name__} raised {told(error)} on a text of "
            "token ids alone; rewardd serves models that read text and nothing else"
        ) from error
    if not torch.isfinite(trial.alone).all():
        raise UnsupportedModel(
            f"{name} can't be scored: {type(model).__name__} gives random texts rewards that are "
            "not finite; its weights hold NaN or infinity, or overflow in this dtype"
        )
    obstacle = trunk_obstacle(model)
    products = choose_products(model, options, chunk_rows=chunk_rows(model.base_model))
    if obstacle is None:
        company = _company(model, max_length, trial) if options.deterministic else None
        forward = _packed(model, _ways(model, heads, options, products), trial, company)
        if isinstance(forward, PackedForward):
            keep_prefixes(forward, trial, options, company or ())
        if not isinstance(forward, str):
            forward.reason = "; ".join([forward.reason, *ruled_out])
            return by_length_class(forward, model, max_length)
        obstacle = forward
    if options.deterministic:
        raise ConfigurationError(
            f"{name} can't run deterministically: {obstacle}; unset `deterministic`"
        )
    first, *others = [
        partial(_batched, name, model, heads, trial, obstacle, choice)
        for choice in products.tries()
    ]
    try:
        found = first()
    except UnsupportedModel:
        if not others:
            raise
        found = others[0]()
    return by_length_class(found, model, max_length)


def by_length_class(forward: Forward, model: Any, max_length: int) -> Forward:
    """The same forward; of texts of one class of lengths at a time where the model has classes."""
    borders = class_borders(model.config)
    if any(border < max_length for border in borders):
        return LengthClassForward(forward, borders)
    return forward


def _ways(
    model: Any, heads: Sequence[Linear], options: EngineOptions, products: ProductChoice
) -> Sequence[PackedWay | _RowsWay]:
    """The packed ways of a model, the fastest first."""
    if not has_head_on_tokens(model):
        return [
            _RowsWay("by oneDNN in rows" if choice.onednn else "in rows", model, heads, choice)
            for choice in products.tries()
        ]
    ways = packed_ways(model, heads=heads, options=options, products=products)
    if options.compile_layers:
        ways.insert(0, PackedWay("compiled", partial(compiled_packed, model, heads=heads)))
    return ways


def _company(model: Any, max_length: int, trial: Trial) -> list[Encoded]:
    texts = company_texts(model, max_length)
    return [text for text in texts if text.num_tokens >= trial.fewest_tokens]


def _packed(
    model: Any,
    ways: Sequence[PackedWay | _RowsWay],
    trial: Trial,
    company: Sequence[Encoded] | None,
) -> PackedForward | EncoderRows | str:
    """The first packed way whose rewards are those of each text alone; else why none is.

    Where there is a company, each of its texts must have the same bits in it as alone.
    """
    original = model.config._attn_implementation
    failures: list[str] = []
    for way in ways:
        make: Callable[[], PackedForward | EncoderRows] = way.make
        made = trial.tried(make, lambda made: torch.tensor(made.rewards(trial.texts)), way="packed")
        if not isinstance(made, str) and company is not None:
            made = why_bits_differ(made.rewards, company) or made
        if not isinstance(made, str):
            made.reason = "; ".join([made.reason, *failures])
            made.products = way.products
            return made
        failures.append(f"not {way.name}, as {made}")
        last = made
        run_by_transformers(model, original)
    return last if len(failures) == 1 else "; ".join(failures)


def _batched(
    name: str,
    model: Any,
    heads: Sequence[Linear],
    trial: Trial,
    reason: str,
    products: ProductChoice,
) -> BatchedForward:
    """The first way in batches whose rewards are those of each text alone.

    Raises:
        UnsupportedModel: none is.
    """
    multiply_as_before(model.base_model)
    if products.onednn is not None:
        multiply_in_place(model.base_model, products.onednn.product)
    demands = TextDemands(trial.fewest_tokens, _required_token(model, trial))
    failures = [reason, *_demands_told(demands)]
    ways = dict(_TOGETHER)
    if trial.keeps is not None:
        # What a model leaves behind by a text's length, padding to another length would change.
        del ways["padded"]
        failures.append("set back before each batch, as it keeps something of the texts before")
    for together, words in ways.items():
        settings: dict[str, Any] = {
            "heads": heads,
            "reason": "; ".join([*failures, *([] if together == "padded" else [words])]),
            "together": together,
            "demands": demands,
            "kept": trial.keeps,
        }
        # The trial pads far more than serving does, so that it shows what padding changes.
        made = trial.tried(
            partial(BatchedForward, model, **settings, most_padding=1.0),
            lambda made: _in_company(made, trial),
            way=together.replace("_", "-"),
        )
        if not isinstance(made, str):
            found = BatchedForward(model, **settings)
            found.products = products
            return found
        failures.append(made)
    raise UnsupportedModel(
        f"{name} can't be scored: {type(model).__name__} has no way that gives a text the reward "
        f"that it has alone ({'; '.join(failures)}); take a model whose rewards depend on the text "
        "alone"
    )


def _in_company(forward: BatchedForward, trial: Trial) -> Tensor:
    """Rewards of the short texts together, then of the long ones; the second again after them."""
    rewards = [row for texts in trial.companies for row in forward.rewards(texts)]
    if len(rewards) > 1:
        rewards[1] = forward.rewards([trial.texts[1]])[0]
    return torch.tensor(rewards)


def _demands_told(demands: TextDemands) -> list[str]:
    told = []
    if demands.required_token is not None:
        told.append("reads a text at its end-of-text token")
    if demands.fewest_tokens > 1:
        told.append(f"reads no text of fewer than {demands.fewest_tokens} tokens")
    return told


def _required_token(model: Any, trial: Trial) -> int | None:
    """The end-of-text token of a model that reads there, and raises where it finds none."""
    end = end_token(model)
    if end is None or has_head_on_tokens(model):
        return None
    text = trial.texts[0]
    ids = tuple(token for token in text.input_ids if token != end)
    try:
        BatchedForward(model, reason="", kept=trial.keeps).rewards([Encoded(ids, len(ids) - 1)])
    except Exception:  # it ran with the token
        return end
    return None


def run_by_transformers(model: Any, attention: str) -> None:
    """Give a model that was run packed back to transformers.

    Args:
        model: as `choose_forward` was given it.
        attention: the implementation that its config named before.
    """
    model.set_attn_implementation(attention)
    read_all_rows(model.base_model)
    multiply_as_before(model.base_model)
    for parameter in model.base_model.parameters():
        if type(parameter.data) is Tensor:  # quantised weights have layouts of their own
            parameter.data = parameter.data.contiguous()


def trunk_obstacle(model: Any) -> str | None:
    """Why a model's trunk can't be run packed, whatever reads it; None where it may be tried.

    Args:
        model: a transformers model for sequence classification.
    """
    if model.config.is_encoder_decoder:
        return "encoder-decoder model"
    if not getattr(model.base_model, "_supports_attention_backend", False):
        return "its attention can't be replaced"
    try:
        hidden = hidden_windows(model)
    except Exception as error:  # models raise what they like where their attention isn't asked
        return f"the packed way raised {told(error)}"
    return "what its attention sees stands in its masks alone" if hidden else None
