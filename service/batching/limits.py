"""The bounds of the queue and of its packs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SchedulerLimits:
    """See the settings of the same names."""

    max_pack_tokens: int
    max_pack_items: int
    max_wait_seconds: float
    max_queue_items: int
    max_queue_tokens: int
    max_request_tokens: int
    max_reply_rewards: int
    max_waiting_bytes: int
    bulk_every_packs: int
    tokenizer_threads: int
