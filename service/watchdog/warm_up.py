"""A few packs before the first caller: kernels are chosen, and the watchdog learns their times."""

from dataclasses import replace

import structlog

from rm_core.errors import InputError
from rm_core.types import Dialogue, Scorer
from service.watchdog.engine_watch import EngineWatch

_NUM_WORDS = (8, 32, 128, 512)
_ENOUGH_SECONDS = 1.0
_SCOPE = b"warm-up"  # callers find nothing of it in the caches

_log = structlog.get_logger(__name__)


def warm_up(scorer: Scorer, watch: EngineWatch) -> None:
    """Run one text after the other, each four times as long, until one takes a second.

    What fails here fails again for the first caller, who is told; it is only logged.

    Args:
        scorer: the loaded models.
        watch: of its calls; learns how long they took.
    """
    for num_words in _NUM_WORDS:
        # No two begin alike: what was kept of the one before would make the next one too quick.
        text = Dialogue(f"{num_words}: " + "word " * num_words, "word.")
        try:
            with watch.tokenize([text]):
                item = replace(scorer.encode(text), cache_scope=_SCOPE)
            began = watch.watchdog.clock()
            with watch.forward(item.num_tokens):
                scorer.forward([item])
        except InputError:
            return  # a text of that length is none of these models'
        except Exception as exc:
            _log.warning("warm_up_failed", error=type(exc).__name__, words=num_words)
            return
        seconds = watch.watchdog.clock() - began
        _log.debug("warmed_up", tokens=item.num_tokens, seconds=round(seconds, 6))
        if seconds > _ENOUGH_SECONDS:
            return
