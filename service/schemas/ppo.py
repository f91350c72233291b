"""What the server adds to the wire models of /ppo_reward: its envelope, arguments of the core."""

from typing import Any

from pydantic import Field

from rm_client.models_ppo import PpoItem, PpoRequest
from rm_core.rewards.ppo import KlInput, ShapingOptions


class PpoEnvelope(PpoRequest):
    """What surrounds the items of /ppo_reward; the items themselves are validated one by one."""

    items: list[Any] = Field(min_length=1)

    @property
    def shaping(self) -> ShapingOptions:
        """What the arithmetic needs of them."""
        return ShapingOptions(
            mode=self.whiten.mode,
            shift_mean=self.whiten.shift_mean,
            beta=self.beta,
            missing_eos_penalty=self.missing_eos_penalty,
            reward_clip=self.reward_clip,
        )


def kl_input(item: PpoItem) -> KlInput | None:
    """An item's log-probabilities; None where none came."""
    if item.logprobs is None or item.ref_logprobs is None:
        return None
    return KlInput(item.logprobs, item.ref_logprobs, item.mask)
