"""A clock to turn by hand, and what the tests of the store ask of it."""

from collections.abc import Callable

from rm_core.rewards import statistics_of
from service.streams.ledger_table import IdempotencyKey, StoredReply
from service.streams.stream_table import Stream
from service.streams.transaction import Transaction


class FakeClock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def key(name: str, body: bytes = b"body") -> IdempotencyKey:
    return IdempotencyKey(name, body.ljust(32, b"\0"))


def adding(
    *values: float, name: str = "run", ids: tuple[str, ...] = (), reply: bytes = b"reply"
) -> Callable[[Transaction], StoredReply]:
    def work(transaction: Transaction) -> StoredReply:
        stream = transaction.stream(name) or Stream(name)
        merged = stream.merged(statistics_of(values), num_samples=len(values), now=transaction.now)
        transaction.save(merged, dict.fromkeys(ids))
        return StoredReply(200, reply)

    return work
