"""Running a reward model on encoded texts: packed without padding, or padded where it must be.

`PackedForward` is the way for decoders whose attention transformers lets us replace;
`PaddedForward` serves every other model. `choose_forward` decides by looking and then by trying:
a model goes the packed way only if its packed rewards equal those of each text alone.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch.nn import Linear

from rm_core.checkpoint import RewardModel
from rm_core.engine.attention import ATTENTION_NAME, TreePlan
from rm_core.engine.deterministic import fix_product_shapes, in_fixed_chunks
from rm_core.engine.last_layer import read_all_rows, read_rows_only
from rm_core.engine.plan import plan_pack
from rm_core.errors import ConfigurationError
from rm_core.heads import ScalarHeads
from rm_core.types import Encoded

SELF_TEST_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-8}
REDUCED_PRECISION_TOLERANCE = 0.05
MAX_PADDING_RATIO = 0.1
"""Padded batches hold at most this share of padding; beyond it another batch is cheaper."""


class Forward(Protocol):
    """A way to run a trunk and the heads on it."""

    @property
    def path(self) -> str:
        """The way's name: "packed" or "padded"."""
        ...

    @property
    def reason(self) -> str:
        """Why this way was taken, for /v1/info and the log."""
        ...

    @property
    def shares_prefixes(self) -> bool:
        """Whether common prefixes are computed once."""
        ...

    def rewards(self, texts: Sequence[Encoded]) -> list[list[float]]:
        """Raw rewards in order, (texts, heads), float32 values."""
        ...


class PackedForward:
    """All texts in one row without padding, through the trunk with tree attention.

    Args:
        model: a decoder for sequence classification with a linear `score` head.
        heads: further heads on the same trunk, read from the same hidden states.
        reason: why this way was taken.
        share: whether common prefixes are computed once.
        skip_unread: whether the last layer's feed-forward half and the final norm run only where a
            head reads; without effect on models whose last layer's form is not known.
        deterministic: whether a text gets the same bits in any company, on one machine; costs
            shared prefixes and some filling.
    """

    path = "packed"

    def __init__(
        self,
        model: Any,
        *,
        heads: Sequence[Linear] = (),
        reason: str,
        share: bool = True,
        skip_unread: bool = True,
        deterministic: bool = False,
    ) -> None:
        self.reason = reason
        self.shares_prefixes = share and not deterministic
        self._trunk = model.base_model
        self._device = model.device
        self._heads = ScalarHeads([model.score, *heads])
        if deterministic:
            fix_product_shapes(self._trunk)
        self._deterministic = deterministic
        model.set_attn_implementation(ATTENTION_NAME)
        read_all_rows(self._trunk)
        self.skips_unread = skip_unread and read_rows_only(self._trunk)

    @torch.inference_mode()
    def rewards(self, texts: Sequence[Encoded]) -> list[list[float]]:
        """Raw rewards in order, (texts, heads), float32 values."""
        pack = plan_pack(
            [text.input_ids for text in texts],
            [text.read_position for text in texts],
            share=self.shares_prefixes,
        )
        tree = TreePlan.of(pack, self._device)
        hidden = self._trunk(
            input_ids=torch.from_numpy(pack.input_ids).to(self._device)[None],
            position_ids=tree.position_ids[None],
            use_cache=False,
            tree=tree,
        ).last_hidden_state[0]
        read = hidden if self.skips_unread else hidden[tree.read_rows]
        if not self._deterministic:
            return self._heads(read)
        rewards: list[list[float]] = in_fixed_chunks(self._heads.linear, read.float()).tolist()
        return rewards


class PaddedForward:
    """Batches of similar length, right-padded, through the model as transformers runs it.

    Args:
        model: any model for sequence classification.
        heads: further heads on the same trunk; only for a decoder with a linear `score` head.
        reason: why this way was taken.
    """

    path = "padded"
    shares_prefixes = False

    def __init__(self, model: Any, *, heads: Sequence[Linear] = (), reason: str) -> None:
        self.reason = reason
        self._model = model
        self._pad = model.config.get_text_config().pad_token_id or 0  # masked, so any id will do
        linear = isinstance(getattr(model, "score", None), Linear)
        self._heads = ScalarHeads([model.score, *heads]) if linear else None

    @torch.inference_mode()
    def rewards(self, texts: Sequence[Encoded]) -> list[list[float]]:
        """Raw rewards in order, (texts, heads), float32 values."""
        rewards: list[list[float]] = [[] for _ in texts]
        for batch in padded_batches([text.num_tokens for text in texts]):
            for index, values in zip(batch, self._batch([texts[i] for i in batch]), strict=True):
                rewards[index] = values
        return rewards

    def _batch(self, texts: list[Encoded]) -> list[list[float]]:
        longest = max(text.num_tokens for text in texts)
        ids = torch.full((len(texts), longest), self._pad, dtype=torch.long)
        mask = torch.zeros((len(texts), longest), dtype=torch.long)
        for row, text in enumerate(texts):
            ids[row, : text.num_tokens] = torch.tensor(text.input_ids)
            mask[row, : text.num_tokens] = 1
        ids, mask = ids.to(self._model.device), mask.to(self._model.device)
        if self._heads is None:
            logits = self._model(input_ids=ids, attention_mask=mask).logits
            return [[float(value)] for value in logits.float()[:, 0].tolist()]
        hidden = self._model.base_model(input_ids=ids, attention_mask=mask)[0]
        rows = torch.arange(len(texts), device=hidden.device)
        read = torch.tensor([text.read_position for text in texts], device=hidden.device)
        return self._heads(hidden[rows, read])


def padded_batches(lengths: Sequence[int]) -> list[list[int]]:
    """Group texts of similar length, so that little is padding.

    Args:
        lengths: in tokens.

    Returns:
        Indices into `lengths`, each exactly once, longest batch first.
    """
    batches: list[list[int]] = []
    real = 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        current = batches[-1] if batches else []
        longest = lengths[current[0]] if current else 0
        total = longest * (len(current) + 1)
        if current and real + lengths[index] >= (1 - MAX_PADDING_RATIO) * total:
            current.append(index)
            real += lengths[index]
        else:
            batches.append([index])
            real = lengths[index]
    return batches


def choose_forward(
    reward_model: RewardModel, heads: Sequence[Linear] = (), *, deterministic: bool = False
) -> Forward:
    """The fastest way that gives the model's own rewards.

    Args:
        reward_model: the checkpoint whose trunk is run.
        heads: further heads on the same trunk.
        deterministic: whether a text must get the same bits in any company.

    Raises:
        ConfigurationError: `deterministic` is asked of a model that can't run packed.
    """
    forward = _fastest(reward_model, heads, deterministic=deterministic)
    if deterministic and not isinstance(forward, PackedForward):
        raise ConfigurationError(
            f"{reward_model.profile.name} can't run deterministically: {forward.reason}; "
            "unset `deterministic`"
        )
    return forward


def _fastest(
    reward_model: RewardModel, heads: Sequence[Linear], *, deterministic: bool
) -> PackedForward | PaddedForward:
    model = reward_model.model
    obstacle = _obstacle(model)
    if obstacle is not None:
        return PaddedForward(model, heads=heads, reason=obstacle)
    probe = _probe(model, reward_model.profile.max_length)
    padded = PaddedForward(model, heads=heads, reason="the packed way failed its self-test")
    alone = [padded.rewards([text])[0] for text in probe]
    original = model.config._attn_implementation
    try:
        packed = PackedForward(
            model,
            heads=heads,
            reason="decoder with replaceable attention",
            deterministic=deterministic,
        )
        found = packed.rewards(probe)
    except (TypeError, ValueError, RuntimeError, AttributeError, KeyError) as error:
        padded.reason = f"the packed way raised {type(error).__name__}"
    else:
        tolerance = SELF_TEST_TOLERANCE.get(model.dtype, REDUCED_PRECISION_TOLERANCE)
        a, b = torch.tensor(alone), torch.tensor(found)
        worst = float(((a - b).abs() / (1 + a.abs())).max())
        if worst <= tolerance:  # false for NaN
            return packed
        padded.reason = f"packed rewards differ by {worst:.1e} from those of each text alone"
    model.set_attn_implementation(original)
    read_all_rows(model.base_model)
    return padded


def _obstacle(model: Any) -> str | None:
    """Why a model can't go the packed way; None where it may."""
    if model.config.is_encoder_decoder:
        return "encoder-decoder model"
    if not isinstance(getattr(model, "score", None), Linear):
        return "not a decoder with a linear score head"
    if not getattr(model.base_model, "_supports_attention_backend", False):
        return "its attention can't be replaced"
    return None


def _probe(model: Any, max_length: int) -> list[Encoded]:
    """Random texts that would show a neighbour's influence: shared prefixes, several lengths."""
    longest = min(max_length, 80)
    generator = torch.Generator().manual_seed(0)
    vocabulary = model.config.get_text_config().vocab_size
    ids = torch.randint(0, vocabulary, (4, longest), generator=generator).tolist()
    shared = longest // 2
    rows = [ids[0], ids[0][:shared] + ids[1][shared:], ids[2][: longest // 3], ids[3][:1]]
    return [Encoded(tuple(row), len(row) - 1) for row in rows]
