"""Rewards for a PPO loop of one's own: padded arrays in, padded arrays out.

B is the batch, T the longest response. Torch tensors come back as torch tensors on their device,
anything else as numpy arrays.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rm_client.adapters.samples import TRUNCATE
from rm_client.async_client import AsyncRewardClient
from rm_client.checks import raise_failures
from rm_client.client import RewardClient
from rm_client.errors import InvalidRequest
from rm_client.models_ppo import PpoItemReply, PpoReply

ScorePosition = Literal["last_token", "after_last"]
OnFailed = Literal["raise", "zero"]

logger = logging.getLogger("rm_client")

_ADVICE = {
    "biased_kl_gradient": "in the reward k1 alone gives the gradient of KL(policy || reference); "
    'leave kl_estimator="k2" and "k3" to losses and monitors'
}


@dataclass(frozen=True, slots=True)
class PpoRewards:
    """What a batch's advantages are computed from.

    Attributes:
        token_rewards: [B, T], −β·KL_t, and the whitened reward where `score_position` says; zero
            where the mask is.
        rewards: [B], the shaped rewards, the rows' sums.
        whitened: [B], within `reward_clip`, before the penalties.
        kl: [B], Σ KL_t in nats; zero for a row without tokens.
        failed: [B] booleans, rows that could not be scored and are zero.
        reply: everything else, the statistics among it.
    """

    token_rewards: Any
    rewards: Any
    whitened: Any
    kl: Any
    failed: Any
    reply: PpoReply


def ppo_reward(  # noqa: PLR0913 (a batch has this many columns)
    client: RewardClient,
    prompts: Sequence[Any],
    responses: Sequence[str],
    logprobs: Any,
    ref_logprobs: Any,
    mask: Any = None,
    *,
    score_position: ScorePosition = "last_token",
    on_failed: OnFailed = "raise",
    per_item: dict[str, Sequence[Any]] | None = None,
    **options: Any,
) -> PpoRewards:
    """Shaped rewards of a rollout.

    Args:
        client: of the server.
        prompts: [B] texts or lists of messages.
        responses: [B] texts.
        logprobs: [B, T] floats, ln π_θ of each sampled token.
        ref_logprobs: [B, T] floats, ln π_0 of the same tokens.
        mask: [B, T], true (1) where a token is of the response; None: all are.
        score_position: "last_token" adds the reward at the last unmasked token; "after_last" at the
            next position if there is one, as TRL's PPO does.
        on_failed: "raise" an ItemsFailed, or leave "zero" rows.
        per_item: further fields by name, [B] each: "is_safety", "finished", "id", "group".
        **options: of `RewardClient.ppo_reward`: stream, beta, kl_estimator, kl_clip, reward_clip,
            whiten, missing_eos_penalty, truncate, idempotency_key.

    Raises:
        InvalidRequest: the shapes don't fit.
        ItemsFailed: an item could not be scored, with "raise"; or none could.
    """
    batch = _Batch.of(prompts, responses, logprobs, ref_logprobs, mask, score_position)
    reply = client.ppo_reward(batch.items(per_item or {}), **{"truncate": TRUNCATE, **options})
    return batch.rewards(reply, on_failed)


async def ppo_reward_async(  # noqa: PLR0913 (a batch has this many columns)
    client: AsyncRewardClient,
    prompts: Sequence[Any],
    responses: Sequence[str],
    logprobs: Any,
    ref_logprobs: Any,
    mask: Any = None,
    *,
    score_position: ScorePosition = "last_token",
    on_failed: OnFailed = "raise",
    per_item: dict[str, Sequence[Any]] | None = None,
    **options: Any,
) -> PpoRewards:
    """As `ppo_reward`, for an event loop."""
    batch = _Batch.of(prompts, responses, logprobs, ref_logprobs, mask, score_position)
    options = {"truncate": TRUNCATE, **options}
    reply = await client.ppo_reward(batch.items(per_item or {}), **options)
    return batch.rewards(reply, on_failed)


@dataclass(frozen=True, slots=True)
class _Batch:
    """The arrays as lists, and what kind they were."""

    prompts: Sequence[Any]
    responses: Sequence[str]
    logprobs: list[list[float]]
    ref_logprobs: list[list[float]]
    mask: list[list[bool]]
    like: Any

    @classmethod
    def of(
        cls,
        prompts: Sequence[Any],
        responses: Sequence[str],
        logprobs: Any,
        ref_logprobs: Any,
        mask: Any,
        score_position: ScorePosition,
    ) -> "_Batch":
        own, ref = _rows(logprobs), _rows(ref_logprobs)
        shape = [len(row) for row in own]
        counted = [[True] * length for length in shape] if mask is None else _rows(mask)
        found = [bool(value) for row in counted for value in row]  # refuses what has no truth
        if not len(prompts) == len(responses) == len(own) or len(set(shape)) > 1:
            raise InvalidRequest("prompts, responses and the rows of logprobs must be B each")
        if [len(row) for row in ref] != shape or [len(row) for row in counted] != shape:
            raise InvalidRequest("logprobs, ref_logprobs and mask must be of one shape [B, T]")
        width = shape[0] if shape else 0
        rows = [found[row * width : (row + 1) * width] for row in range(len(own))]
        if score_position == "after_last":
            for index, row in enumerate(rows):
                end = _length(row)
                if 0 < end < width:
                    # A token that both policies think equally likely: no KL, and room for the
                    # reward.
                    row[end] = True
                    own[index][end] = ref[index][end] = 0.0
        return cls(prompts, responses, own, ref, rows, logprobs)

    def items(self, per_item: dict[str, Sequence[Any]]) -> list[dict[str, Any]]:
        """The rows as items, without their padding."""
        size = len(self.prompts)
        for name, values in per_item.items():
            if len(values) != size:
                raise InvalidRequest(f"{name} has {len(values)} entries for a batch of {size}")
        items = []
        for index in range(size):
            item = {"prompt": self.prompts[index], "response": self.responses[index]}
            item["allow_empty"] = True  # policies do write them
            item |= {name: _plain(values[index]) for name, values in per_item.items()}
            end = _length(self.mask[index])
            if end:
                item["logprobs"] = _masked(self.logprobs[index], self.mask[index])[:end]
                item["ref_logprobs"] = _masked(self.ref_logprobs[index], self.mask[index])[:end]
                item["mask"] = self.mask[index][:end]
            items.append(item)
        return items

    def rewards(self, reply: PpoReply, on_failed: OnFailed) -> PpoRewards:
        """The reply as arrays; what the server warns of goes into the trainer's log."""
        for name in reply.statistics.warnings:
            logger.warning("%s: %s", name, _ADVICE.get(name, "see the server's documentation"))
        if on_failed == "raise":
            raise_failures(reply.items)
        width = len(self.mask[0]) if self.mask else 0
        scored = [item if isinstance(item, PpoItemReply) else None for item in reply.items]
        tokens = [(item.token_rewards or []) if item is not None else [] for item in scored]
        return PpoRewards(
            token_rewards=_array([row + [0.0] * (width - len(row)) for row in tokens], self.like),
            rewards=_array([item.reward if item else 0.0 for item in scored], self.like),
            whitened=_array([item.whitened if item else 0.0 for item in scored], self.like),
            kl=_array([(item.kl or 0.0) if item else 0.0 for item in scored], self.like),
            failed=_array([item is None for item in scored], self.like),
            reply=reply,
        )


def _rows(values: Any) -> list[list[Any]]:
    # .tolist() of torch and numpy alike; a tensor on a device is copied once.
    listed = values.tolist() if hasattr(values, "tolist") else values
    try:
        return [list(row.tolist() if hasattr(row, "tolist") else row) for row in listed]
    except TypeError:
        raise InvalidRequest("logprobs, ref_logprobs and mask must have two dimensions") from None


def _length(row: Sequence[bool]) -> int:
    """One more than the index of the last true."""
    return max((index + 1 for index, counts in enumerate(row) if counts), default=0)


def _masked(row: Sequence[float], mask: Sequence[bool]) -> list[float]:
    # Trainers fill what is masked with anything, -inf included, which JSON can't carry.
    return [float(value) if counts else 0.0 for value, counts in zip(row, mask, strict=True)]


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _array(values: list[Any], like: Any) -> Any:
    is_flag = bool(values) and isinstance(values[0], bool)
    if type(like).__module__.partition(".")[0] == "torch":
        import torch

        # Rewards of half precision would be coarser than the KL that they hold.
        dtype = torch.promote_types(like.dtype, torch.float32)
        return torch.tensor(values, dtype=torch.bool if is_flag else dtype, device=like.device)
    import numpy as np

    return np.asarray(values, dtype=np.bool_ if is_flag else np.float64)
