"""The warning of a KL estimator whose policy gradient, as part of the reward, is not the KL's."""

import structlog

from rm_core.rewards.ppo import Shaping
from service.schemas.ppo import PpoEnvelope
from service.streams.notices import OncePerStream

BIASED_KL_GRADIENT = "biased_kl_gradient"

_log = structlog.get_logger(__name__)


def estimator_warnings(
    options: PpoEnvelope, shaping: Shaping, told: OncePerStream
) -> tuple[str, ...]:
    """Warnings of a request's estimator: for k2 and k3 in the reward, one for each stream.

    Args:
        options: of the request.
        shaping: its outcomes.
        told: the streams that were warned before; runs on the store's thread.
    """
    penalises = options.beta > 0.0 and any(
        outcome.sample.kl is not None for outcome in shaping.outcomes
    )
    if options.kl_estimator == "k1" or not penalises or not told.is_first(options.stream):
        return ()
    _log.warning(
        BIASED_KL_GRADIENT,
        stream=options.stream,
        kl_estimator=options.kl_estimator,
        advice="in the reward k1 alone gives the gradient of KL(policy || reference) "
        "(arXiv 2510.01555); k2 and k3 belong in a loss or a monitor",
    )
    return (BIASED_KL_GRADIENT,)
