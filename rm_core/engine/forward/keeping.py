"""The trial by which a packed way earns its prefix cache: cold and warm, the rewards are the same.

Our cache holds the layers' keys and values. A model that needs more of the tokens before (a state
that runs along, keys that layers share) would go on from a wrong place without a word. So nothing
is believed: a way is run on beginnings of texts, then on the whole texts behind what was kept of
them, then on the same texts again, and keeps nothing where a reward moves: by more than ways may
differ, or in `deterministic` mode by one bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from rm_core.engine.forward.packed import PackedForward
from rm_core.engine.forward.self_test import Trial, told
from rm_core.engine.options import EngineOptions
from rm_core.engine.prefix_cache import Layout, PrefixCache
from rm_core.engine.prefix_cache.store import Shape
from rm_core.types import Encoded

_TRIAL_BYTES = 2**31
"""More than the trial's short texts take."""


def keep_prefixes(
    forward: PackedForward, trial: Trial, options: EngineOptions, company: Sequence[Encoded] = ()
) -> None:
    """Give a forward a prefix cache, or the reason why it keeps nothing.

    Args:
        forward: one that has passed its trial without.
        trial: random texts and their rewards alone.
        options: `prefix_cache_bytes` is what this forward's cache may take.
        company: further texts, whose bits are compared where that is what is asked for.
    """
    max_bytes = options.prefix_cache_bytes or 0
    obstacle = _obstacle(forward, options)
    if obstacle is not None:
        forward.prefix_cache_reason = obstacle
        return
    try:
        layout = layout_of(forward, trial.texts[0])
    except Exception as error:  # models raise what they like where their layers aren't told
        forward.prefix_cache_reason = f"its layers' keys can't be told apart: {told(error)}"
        return
    texts = [*trial.texts, *company]
    cold = [forward.rewards([text]) for text in texts] if options.deterministic else []
    forward.prefix_cache = PrefixCache(layout, _TRIAL_BYTES)
    tried = trial.tried(lambda: forward, lambda made: _cold_and_warm(made, trial), way="warm")
    if options.deterministic and not isinstance(tried, str):
        tried = _why_bits_move(forward, texts, cold) or tried
    if isinstance(tried, str):
        forward.prefix_cache, forward.prefix_cache_reason = None, tried
        return
    forward.prefix_cache = PrefixCache(layout, max_bytes)
    same = "the same bits" if options.deterministic else "the same rewards"
    forward.prefix_cache_reason = f"keys and values give {same} cold and warm"


def _obstacle(forward: PackedForward, options: EngineOptions) -> str | None:
    if options.deterministic and not forward.shares_exactly:
        return "deterministic: its attention runs each text whole, as merging parts rounds"
    if options.compile_layers:
        return "compiled layers hand over no keys and values"
    return None if options.prefix_cache_bytes else "switched off: prefix_cache_bytes is 0"


def _cold_and_warm(forward: PackedForward, trial: Trial) -> Tensor:
    """The trial's rewards behind what was kept, of which those of two runs the farther ones."""
    forward.rewards([_beginning(text) for text in trial.texts])
    warm, again = (torch.tensor(forward.rewards(trial.texts)) for _ in range(2))
    farther = (warm - trial.alone).abs() >= (again - trial.alone).abs()
    return torch.where(farther | warm.isnan(), warm, again)


def _why_bits_move(
    forward: PackedForward, texts: Sequence[Encoded], cold: Sequence[list[list[float]]]
) -> str | None:
    """What there is to say against what is kept where a text's bits must be those it has cold.

    Args:
        forward: with a prefix cache.
        texts: they meet what was kept of their beginnings, then of themselves.
        cold: of each text its rewards alone, without the cache.
    """
    forward.rewards([_beginning(text) for text in texts])
    expected = [row for rows in cold for row in rows]
    alone = [row for text in texts for row in forward.rewards([text])]
    differing = sum(
        any(one != row for one in others)
        for row, *others in zip(expected, alone, forward.rewards(texts), strict=True)
    )
    return (
        f"{differing} of {len(texts)} texts have other bits warm than cold" if differing else None
    )


def _beginning(text: Encoded) -> Encoded:
    """The first half of a text, read at its end."""
    half = (text.num_tokens + 1) // 2
    return replace(text, input_ids=text.input_ids[:half], read_position=half - 1)


@dataclass(slots=True)
class _Seen:
    """What layers hand over while one text runs."""

    layers: list[int] = field(default_factory=list)
    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    def __call__(self, layer: int, key: Tensor, value: Tensor) -> None:
        self.layers.append(layer)
        self.keys.append(key)
        self.values.append(value)


def layout_of(forward: PackedForward, text: Encoded) -> Layout:
    """What a trunk's layers keep of a token, found out by running a text.

    Raises:
        ValueError: not every layer attends exactly once, with keys and values of one dtype.
        AttributeError: an attention module doesn't tell its layer.
    """
    seen = _Seen()
    forward.capture(text, seen)
    dtypes = {tensor.dtype for tensor in (*seen.keys, *seen.values)}
    count = len(seen.layers)
    if not count or sorted(seen.layers) != list(range(count)) or len(dtypes) != 1:
        raise ValueError("some layers attend not at all or twice, or in several dtypes")
    order = sorted(range(count), key=seen.layers.__getitem__)
    keys, values = ([each[i] for i in order] for each in (seen.keys, seen.values))
    return Layout(_shapes(keys), _shapes(values), dtypes.pop(), keys[0].device)


def _shapes(tensors: Sequence[Tensor]) -> tuple[Shape, ...]:
    """Of each layer's (1, heads, tokens, head_dim): heads and head_dim."""
    return tuple((tensor.shape[1], tensor.shape[3]) for tensor in tensors)
