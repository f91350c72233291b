import asyncio
import threading
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from rm_core.errors import EngineClosed
from rm_core.types import Dialogue, EncodedItem, RewardInput, Truncation
from service.batching.tokenizer_pool import Tokenised, TokenizerPool
from service.observability.metrics import Metrics
from service.results import ItemFailure
from service.watchdog.engine_watch import EngineWatch
from service.watchdog.limits import WatchLimits
from tests.fakes import ENCODE_ERROR_MARK, FakeScorer, RememberingScorer, fake_reward


class HeldScorer(FakeScorer):
    """A scorer whose first encoding waits until `held` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.held = threading.Event()
        self.started = threading.Event()

    def encode(self, dialogue: RewardInput, *, truncate: Truncation = "error") -> EncodedItem:
        self.started.set()
        assert self.held.wait(10)
        return super().encode(dialogue, truncate=truncate)


def failed(metrics: Metrics, reason: str) -> float:
    return metrics.registry.get_sample_value("rm_item_failures_total", {"reason": reason}) or 0.0


@pytest.mark.parametrize("count", [0, 1, 16, 17, 50])
async def test_encodings_come_back_in_order_whichever_thread_made_them(count: int) -> None:
    pool = TokenizerPool(FakeScorer(), 4, Metrics(), EngineWatch())

    encoded = await pool.encode([Dialogue("p", "word " * n) for n in range(1, count + 1)], "error")

    assert [isinstance(text, Tokenised) and text.item.num_tokens for text in encoded] == [
        n + 1 for n in range(1, count + 1)
    ]
    pool.close()


async def test_what_cannot_be_encoded_fails_alone_with_its_field_and_reason() -> None:
    metrics = Metrics()
    pool = TokenizerPool(FakeScorer(max_length=4), 1, metrics, EngineWatch())
    texts = ["fine", " ", "one two three four", "fine too"]

    first, empty, long, last = await pool.encode([Dialogue("p", t) for t in texts], "error")

    assert isinstance(first, Tokenised)
    assert isinstance(last, Tokenised)
    assert isinstance(empty, ItemFailure)
    assert isinstance(long, ItemFailure)
    assert (empty.code, empty.pointer, empty.status) == ("empty_text", "response", 422)
    assert (long.code, long.pointer, long.status) == ("input_too_long", "response", 422)
    assert (failed(metrics, "tokenize"), failed(metrics, "too_long")) == (1.0, 1.0)
    pool.close()


async def test_a_long_text_is_cut_where_the_caller_allows_it() -> None:
    pool = TokenizerPool(FakeScorer(max_length=4), 1, Metrics(), EngineWatch())

    (cut,) = await pool.encode([Dialogue("p", "one two three four five")], "prompt")

    assert isinstance(cut, Tokenised)
    assert (cut.item.num_tokens, cut.item.warnings) == (4, ("truncated",))
    pool.close()


async def test_what_the_caches_hold_of_a_text_is_looked_up_with_it() -> None:
    scorer = RememberingScorer()
    scorer.kept_tokens = 2
    pool = TokenizerPool(scorer, 1, Metrics(), EngineWatch())
    texts = [Dialogue("p", "new to all"), Dialogue("p", "known")]
    kept = [replace(scorer.encode(one), cache_scope=b"own") for one in texts[1:]]
    scorer.forward(kept)

    new, known = await pool.encode(texts, "error", b"own")
    (foreign,) = await pool.encode(texts[1:], "error", b"another")

    assert isinstance(new, Tokenised)
    assert isinstance(known, Tokenised)
    assert isinstance(foreign, Tokenised)
    assert (new.known, new.cached_tokens, new.item.cache_scope) == (None, 2, b"own")
    assert known.known is not None
    assert known.known.rewards["safety"] == fake_reward("safety", texts[1])
    assert foreign.known is None
    pool.close()


async def test_a_bug_of_the_tokenizer_is_told_without_the_text() -> None:
    pool = TokenizerPool(FakeScorer(), 1, Metrics(), EngineWatch())

    with capture_logs() as logs:
        (failure,) = await pool.encode([Dialogue("p", f"secret {ENCODE_ERROR_MARK}")], "error")

    assert isinstance(failure, ItemFailure)
    assert (failure.code, failure.status) == ("tokenizing_failed", 500)
    assert [entry["error"] for entry in logs] == ["RuntimeError"]
    assert "secret" not in repr((failure, logs))
    pool.close()


async def test_a_cancelled_call_stops_what_no_thread_has_begun() -> None:
    scorer = HeldScorer()
    pool = TokenizerPool(scorer, 1, Metrics(), EngineWatch())
    call = asyncio.create_task(pool.encode([Dialogue("p", "r")] * 100, "error"))
    await asyncio.to_thread(scorer.started.wait, 10)

    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    scorer.held.set()
    await pool.encode([Dialogue("p", "r")], "error")  # the one thread gets to this last

    assert scorer.encoded == 16 + 1
    pool.close()


async def test_who_waits_for_a_thread_hears_that_the_pool_closed() -> None:
    scorer = HeldScorer()
    pool = TokenizerPool(scorer, 1, Metrics(), EngineWatch())
    begun = asyncio.create_task(pool.encode([Dialogue("p", "begun")], "error"))
    await asyncio.to_thread(scorer.started.wait, 10)
    waiting = asyncio.create_task(pool.encode([Dialogue("p", "waiting")], "error"))
    await asyncio.sleep(0)  # let it take its place in line

    pool.close()
    with pytest.raises(EngineClosed):
        await waiting
    scorer.held.set()
    (encoded,) = await begun

    assert isinstance(encoded, Tokenised)


async def test_cancelling_a_caller_while_the_pool_closes_stays_a_cancellation() -> None:
    scorer = HeldScorer()
    pool = TokenizerPool(scorer, 1, Metrics(), EngineWatch())
    waiting = asyncio.create_task(pool.encode([Dialogue("p", "r")], "error"))
    await asyncio.to_thread(scorer.started.wait, 10)

    pool.close()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    scorer.held.set()


async def test_whoever_waits_for_a_thread_that_hangs_is_told_when_the_pool_is_abandoned() -> None:
    scorer = HeldScorer()
    pool = TokenizerPool(scorer, 1, Metrics(), EngineWatch())
    hanging = asyncio.create_task(pool.encode([Dialogue("p", "r")], "error"))
    await asyncio.to_thread(scorer.started.wait, 10)

    pool.abandon()

    with pytest.raises(EngineClosed):
        await asyncio.wait_for(hanging, 10)
    scorer.held.set()


async def test_a_tokenizer_that_panics_fails_its_text_and_nothing_else() -> None:
    """Those in Rust raise pyo3's PanicException, which is no Exception."""

    class Panicking(FakeScorer):
        def encode(self, dialogue: RewardInput, *, truncate: Truncation = "error") -> EncodedItem:
            if "panic" in repr(dialogue):
                raise BaseException("panicked about " + repr(dialogue))
            return super().encode(dialogue, truncate=truncate)

    pool = TokenizerPool(Panicking(), 1, Metrics(), EngineWatch())

    first, bad = await pool.encode([Dialogue("p", "r"), Dialogue("p", "panic")], "error")

    assert isinstance(first, Tokenised)
    assert isinstance(bad, ItemFailure)
    assert bad.code == "tokenizing_failed"
    pool.close()


async def test_the_threads_are_watched_each_call_as_long_as_its_texts_allow() -> None:
    scorer = HeldScorer()
    watch = EngineWatch(limits=WatchLimits(tokenize=-1.0))
    pool = TokenizerPool(scorer, 1, Metrics(), watch)
    call = asyncio.create_task(pool.encode([Dialogue("p", "r")], "error"))
    await asyncio.to_thread(scorer.started.wait, 10)

    told = watch.watchdog.cause
    scorer.held.set()
    await call

    assert told is not None
    assert "tokenize in thread rewardd-tokenize" in told
    assert watch.watchdog.cause is None
    pool.close()
