"""What the ledger keeps of a whitened request, from which its reply can be written again."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from rm_core.rewards.calibration import Calibration
from rm_core.rewards.rule import RewardRule, ScoredItem, ScoredResponse, apply_reward_rule
from service.dialects.base import ParsedText, Stamp, TextReward
from service.dialects.result import text_rewards
from service.results import ItemFailure, ItemResult
from service.versions.version import ModelVersion


@dataclass(frozen=True, slots=True)
class Settlement:
    """Raw rewards and whitened ones of a request's texts; the reply is a function of body and this.

    Models that are replaced change nothing of it: it is read by the rule that it was settled by.

    Attributes:
        stamp: of the reply.
        scored: raw rewards of each text; None where it failed.
        whitened: of each text that didn't.
        fallback: the reward of those that failed; None: none did.
        rule: calibrations and τ of the models that gave the rewards; None: an older rewardd wrote
            this and said nothing of them.
        provenance: which models these were, as replies tell it; "" where `rule` is None.
    """

    stamp: Stamp
    scored: tuple[ScoredItem | None, ...]
    whitened: tuple[float, ...]
    fallback: float | None = None
    rule: RewardRule | None = None
    provenance: str = ""

    @classmethod
    def of(
        cls,
        stamp: Stamp,
        results: Sequence[ItemResult],
        whitened: Sequence[float],
        fallback: float | None,
        version: ModelVersion,
    ) -> "Settlement":
        """That of texts which were just scored and whitened."""
        scored = tuple(one.scored if isinstance(one, ScoredResponse) else None for one in results)
        return cls(stamp, scored, tuple(whitened), fallback, version.rule, version.provenance)

    def to_bytes(self) -> bytes:
        """As it stands in the ledger."""
        texts = [
            None if one is None else [dict(one.rewards), one.num_tokens, one.warnings]
            for one in self.scored
        ]
        kept = [self.stamp.reply_id, self.stamp.created, texts, self.whitened, self.fallback]
        if self.rule is not None:
            own = {name: [c.temperature, c.bias] for name, c in self.rule.calibrations.items()}
            kept += [[own, self.rule.tau], self.provenance]
        return orjson.dumps(kept)

    @classmethod
    def from_bytes(cls, kept: bytes) -> "Settlement":
        """From the ledger."""
        reply_id, created, texts, whitened, fallback, *models = orjson.loads(kept)
        scored = tuple(None if one is None else _scored_item(*one) for one in texts)
        settled = cls(Stamp(reply_id, created), scored, tuple(whitened), fallback)
        if not models:
            return settled
        (calibrations, tau), provenance = models
        own = {name: Calibration(*values) for name, values in calibrations.items()}
        return replace(settled, rule=RewardRule(own, tau), provenance=provenance)

    def text_rewards(self, places: Sequence[ParsedText], current: RewardRule) -> list[TextReward]:
        """The rewards of the body's texts.

        Args:
            places: of the body that was settled.
            current: of the loaded models, for what an older rewardd wrote.
        """
        rule = current if self.rule is None else self.rule
        tags = [
            not isinstance(place, ItemFailure) and place.is_safety
            for place, one in zip(places, self.scored, strict=True)
            if one is not None
        ]
        responses = iter(apply_reward_rule(rule, [one for one in self.scored if one], tags))
        results: list[ItemResult] = [
            _FAILED if one is None else next(responses) for one in self.scored
        ]
        return text_rewards(
            results, "whitened", rule.names, fallback=self.fallback, whitened=self.whitened
        )


def _scored_item(rewards: dict[str, float], num_tokens: int, warnings: list[str]) -> ScoredItem:
    return ScoredItem(rewards, num_tokens, tuple(warnings))


_FAILED: Any = ItemFailure("unscorable", "This text could not be scored.")
