"""The update of a stream by one request, inside the transaction that counts it."""

from collections.abc import Sequence
from dataclasses import dataclass

from rm_client.models_ppo import ExpectVersion
from rm_core.rewards import Statistics
from rm_core.rewards.ppo import (
    NewSamples,
    PpoSample,
    Shaping,
    ShapingOptions,
    id_text,
    new_samples,
    shape_samples,
)
from service.errors import UnknownStream
from service.ppo.preconditions import require_stream
from service.streams.stream_table import Stream
from service.streams.transaction import Transaction

_STREAM_MODES = frozenset({"running", "frozen"})


@dataclass(frozen=True, slots=True)
class StreamUpdate:
    """What a request asks of its stream.

    Attributes:
        stream: its name.
        start: statistics that it starts from, should this request create it.
        update: whether the request's rewards are merged in running mode.
        half_life: in samples, should this request create it; None forgets nothing.
        expected: the version that the caller believes to be there.
    """

    stream: str
    start: Statistics
    update: bool = True
    half_life: float | None = None
    expected: ExpectVersion | None = None


@dataclass(frozen=True, slots=True)
class StreamUpdateResult:
    """What a transaction did for a request.

    Attributes:
        stream: as the request left it; None in modes without one.
        added: what was merged; None where nothing was to be.
        shaping: the shaped samples, those in conflict left out, and the statistics that whitened
            them.
    """

    stream: Stream | None
    added: NewSamples | None
    shaping: Shaping


def update_stream(
    transaction: Transaction,
    update: StreamUpdate,
    options: ShapingOptions,
    samples: Sequence[PpoSample],
) -> StreamUpdateResult:
    """Merge the samples into their stream as the options say, and shape them by it.

    Raises:
        UnknownStream: frozen mode names a stream that does not exist.
        Problem: 412, the stream is not at the version that the caller expects.
    """
    if options.mode not in _STREAM_MODES:
        require_stream(update.expected, None)
        return StreamUpdateResult(None, None, shape_samples(samples, options, Statistics()))
    stream = transaction.stream(update.stream)
    if stream is None:
        if options.mode == "frozen":
            raise UnknownStream
        stream = Stream(update.stream, update.start, half_life=update.half_life)
    require_stream(update.expected, stream)
    added: NewSamples | None = None
    if options.mode == "running" and update.update and not stream.frozen:
        stream, added = _merge(transaction, stream, samples)
        samples = [sample for sample in samples if sample.index not in added.conflicts]
    return StreamUpdateResult(stream, added, shape_samples(samples, options, stream.statistics))


def _merge(
    transaction: Transaction, stream: Stream, samples: Sequence[PpoSample]
) -> tuple[Stream, NewSamples]:
    ids = [id_text(sample.id) for sample in samples if sample.id is not None]
    counted = transaction.counted(stream, ids)
    added = new_samples(samples, counted, half_life=stream.half_life)
    if added.num_samples == 0:
        return stream, added
    merged = stream.merged(added.statistics, num_samples=added.num_samples, now=transaction.now)
    return transaction.save(merged, added.new_items), added
