"""What the ledger keeps of a whitened request, from which its reply can be written again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from rm_core.rewards.rule import ScoredItem, ScoredResponse
from rm_core.types import ModelName
from service.dialects.base import Stamp, TextReward
from service.dialects.result import text_rewards
from service.errors import IdempotencyConflict
from service.results import ItemFailure, ItemResult
from service.versions.version import ModelVersion


@dataclass(frozen=True, slots=True)
class Settlement:
    """Every number of a request's texts; the reply is a function of body and this.

    Whatever models, calibrations or settings are there when it is written again: it is what was
    counted.

    Attributes:
        stamp: of the reply.
        names: of the models that were loaded.
        responses: what was found of each text; None where it failed.
        whitened: of each text that didn't.
        fallback: the reward of those that failed; None: none did.
        provenance: which models these were, as replies tell it.
    """

    stamp: Stamp
    names: tuple[ModelName, ...]
    responses: tuple[ScoredResponse | None, ...]
    whitened: tuple[float, ...]
    fallback: float | None = None
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
        responses = tuple(one if isinstance(one, ScoredResponse) else None for one in results)
        names, provenance = version.rule.names, version.provenance
        return cls(stamp, names, responses, tuple(whitened), fallback, provenance)

    def to_bytes(self) -> bytes:
        """As it stands in the ledger."""
        texts = [None if one is None else _kept(one) for one in self.responses]
        stamp, numbers = self.stamp, [texts, self.whitened, self.fallback]
        return orjson.dumps([stamp.reply_id, stamp.created, self.names, *numbers, self.provenance])

    @classmethod
    def from_bytes(cls, kept: bytes) -> "Settlement":
        """From the ledger.

        Raises:
            IdempotencyConflict: it is an earlier release's, which knew less of its models.
        """
        found = orjson.loads(kept)
        if len(found) != 7:
            raise IdempotencyConflict(
                "this Idempotency-Key was used with an earlier rewardd, which did not keep by what "
                "calibration it answered; use a new key"
            )
        reply_id, created, names, texts, whitened, fallback, provenance = found
        responses = tuple(None if one is None else _response(*one) for one in texts)
        stamp = Stamp(reply_id, created)
        return cls(stamp, tuple(names), responses, tuple(whitened), fallback, provenance)

    def text_rewards(self) -> list[TextReward]:
        """The rewards of the body's texts."""
        results: list[ItemResult] = [_FAILED if one is None else one for one in self.responses]
        return text_rewards(
            results, "whitened", self.names, fallback=self.fallback, whitened=self.whitened
        )


def _kept(one: ScoredResponse) -> list[Any]:
    scored = one.scored
    numbers = [dict(scored.rewards), dict(one.calibrated), dict(one.scores)]
    return [*numbers, one.selected, one.logit, scored.num_tokens, scored.warnings]


def _response(
    rewards: dict[str, float],
    calibrated: dict[str, float],
    scores: dict[str, float],
    selected: Any,
    logit: float,
    num_tokens: int,
    warnings: list[str],
) -> ScoredResponse:
    scored = ScoredItem(rewards, num_tokens, tuple(warnings))
    return ScoredResponse(scored, calibrated, scores, selected, logit)


_FAILED: Any = ItemFailure("unscorable", "This text could not be scored.")
