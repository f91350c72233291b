"""Judging in this process: the engine, packed as the server packs, without the server.

Schemas, selection and replies are the service's own, so that a file scored here and one scored by
a server say the same.
"""

import importlib.metadata
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

from pydantic import TypeAdapter

from rewardd.files.remote import Result, as_result
from rm_client.models import CompareItem, ComparisonReply, FailedReply, GroupReply, ResponseReply
from rm_client.models import ScoreItem as ClientScoreItem
from rm_core.engine.packing.cost import new_cost
from rm_core.engine.packing.policy import Budget, QueuedSequence, TokenBudgetController, select_pack
from rm_core.errors import EngineClosed, EngineError, InputError, OutOfMemory
from rm_core.rewards.rule import RewardRule, ScoredItem, apply_reward_rule
from rm_core.types import Encoded, EncodedItem, RewardInput, Scorer, Truncation
from service.batching.pack_runner import ENGINE_FAILURE, OUT_OF_MEMORY, forward_once, outcome_of
from service.observability.metrics import Metrics
from service.results import ItemFailure, ItemResult, Outcome
from service.schemas import score as schemas
from service.scoring.compare_reply import comparison_json
from service.scoring.model_info import models_json, selection_json
from service.scoring.score_reply import item_json

DEFAULT_PACK_ITEMS = 256

_PACKS_AHEAD = 4
"""How much is encoded ahead: enough to gather groups and to keep the device busy."""
_MOST_ITEMS_AHEAD = 2048
_MOST_CHARACTERS_AHEAD = 16 * 1024 * 1024

_SCORE_REPLY: TypeAdapter[ResponseReply | GroupReply | FailedReply] = TypeAdapter(
    ResponseReply | GroupReply | FailedReply
)
_COMPARE_REPLY: TypeAdapter[ComparisonReply | FailedReply] = TypeAdapter(
    ComparisonReply | FailedReply
)

_WireItem = schemas.ScoreItem | schemas.CompareItem


@dataclass(slots=True)
class _Pending:
    """An item whose responses are not all scored yet."""

    item: _WireItem
    outcomes: list[Outcome | None]
    num_characters: int

    @property
    def is_done(self) -> bool:
        return all(outcome is not None for outcome in self.outcomes)


@dataclass(frozen=True, slots=True)
class _Place:
    """Which responses of which item an encoding is: several where they are equal."""

    pending: _Pending
    indices: list[int]


class LocalScorer:
    """Loaded models; see `rewardd.files.remote.FileScorer`.

    Args:
        scorer: the engine.
        max_pack_tokens: deduplicated tokens of one forward pass.
        max_pack_items: sequences of one forward pass.
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        max_pack_tokens: int,
        max_pack_items: int = DEFAULT_PACK_ITEMS,
    ) -> None:
        self._scorer = scorer
        self._rule = RewardRule.of(scorer.profiles)
        self._cap = TokenBudgetController(max_pack_tokens)
        self._max_pack_tokens = max_pack_tokens
        self._max_pack_items = max_pack_items
        self._metrics = Metrics()  # what the replies count; nobody scrapes it here

    def info(self) -> dict[str, Any]:
        """See `FileScorer`."""
        profiles = self._scorer.profiles
        return {
            "service": {"name": "rewardd", "version": importlib.metadata.version("rewardd")},
            "models": models_json(profiles),
            "engine": self._scorer.describe(),
            "selection": selection_json(self._rule, profiles),
        }

    def score(self, items: Iterator[ClientScoreItem], truncate: Truncation) -> Iterator[Result]:
        """See `FileScorer`."""
        wire = (schemas.score_item_model(raw).model_validate(raw) for raw in _dumped(items))
        for item, scored in self._scored(wire, truncate):
            reply = item_json(item, scored, self._metrics)
            yield as_result(_SCORE_REPLY.validate_python(reply))

    def compare(self, items: Iterator[CompareItem], truncate: Truncation) -> Iterator[Result]:
        """See `FileScorer`."""
        wire = (schemas.CompareItem.model_validate(raw) for raw in _dumped(items))
        for _, scored in self._scored(wire, truncate):
            found = comparison_json(scored, "", self._metrics)
            reply = found.as_json() if isinstance(found, ItemFailure) else found
            yield as_result(_COMPARE_REPLY.validate_python(reply))

    def close(self) -> None:
        """See `FileScorer`."""
        close = getattr(self._scorer, "close", None)
        if close is not None:
            close()

    def _scored(
        self, items: Iterator[_WireItem], truncate: Truncation
    ) -> Iterator[tuple[_WireItem, list[ItemResult]]]:
        """Each item with its rewards, in order; the next are encoded while the device works."""
        line = _Line(self._scorer, items, truncate, self._max_pack_tokens, self._max_pack_items)
        with ThreadPoolExecutor(1, "rewardd-forward") as device:
            line.fill()
            while line.pending:
                pack = line.take(
                    Budget(self._cap.tokens, self._max_pack_items), self._scorer.shares_prefixes
                )
                under_way = device.submit(self._outcomes, [entry.item for entry, _ in pack])
                line.fill()
                for (_, place), outcome in zip(pack, under_way.result(), strict=True):
                    for index in place.indices:
                        place.pending.outcomes[index] = outcome
                while line.pending and line.pending[0].is_done:
                    done = line.leave()
                    yield done.item, self._score(done)

    def _score(self, done: _Pending) -> list[ItemResult]:
        outcomes = [
            outcome.at(done.item.pointer_of(index, outcome.pointer))
            if isinstance(outcome, ItemFailure)
            else outcome
            for index, outcome in enumerate(done.outcomes)
            if outcome is not None
        ]
        scored = [outcome for outcome in outcomes if isinstance(outcome, ScoredItem)]
        scored_responses = iter(
            apply_reward_rule(self._rule, scored, [done.item.is_safety] * len(scored))
        )
        return [
            outcome if isinstance(outcome, ItemFailure) else next(scored_responses)
            for outcome in outcomes
        ]

    def _outcomes(self, items: Sequence[EncodedItem]) -> list[Outcome]:
        """Of one pack, in halves where it fails as a whole."""
        if not items:
            return []
        tokens = new_cost(shares_prefixes=self._scorer.shares_prefixes).cost(list(items))
        if len(items) == 1 or tokens <= self._cap.tokens:
            failure = ENGINE_FAILURE
            try:
                rewards = forward_once(self._scorer, items)
            except EngineClosed:
                raise
            except OutOfMemory:
                self._cap.failed(tokens)
                failure = OUT_OF_MEMORY
            except EngineError:
                pass
            else:
                self._cap.succeeded(tokens)
                return list(map(outcome_of, items, rewards))
            if len(items) == 1:
                return [failure]
        middle = len(items) // 2
        return self._outcomes(items[:middle]) + self._outcomes(items[middle:])


def load(
    *,
    safety: str | None,
    helpfulness: str | None,
    device: str = "auto",
    dtype: str = "auto",
    max_pack_tokens: int,
) -> LocalScorer:
    """A scorer of one or two checkpoints.

    Args:
        safety: directory or hub name of the safety model; None for none.
        helpfulness: likewise.
        device: where they run.
        dtype: of the trunk.
        max_pack_tokens: deduplicated tokens of one forward pass.

    Raises:
        RewardError: a checkpoint can't be used, or the machine lacks the device.
    """
    from transformers.utils.logging import disable_progress_bar

    from rm_core.engine import DType, load_engine

    disable_progress_bar()  # the command has its own
    engine = load_engine(
        safety=safety, helpfulness=helpfulness, device=device, dtype=cast("DType", dtype)
    )
    return LocalScorer(engine, max_pack_tokens=max_pack_tokens)


class _Line:
    """What was read ahead: items in order, and the encodings among them that wait for a pack."""

    def __init__(
        self,
        scorer: Scorer,
        items: Iterator[_WireItem],
        truncate: Truncation,
        max_pack_tokens: int,
        max_pack_items: int,
    ) -> None:
        self.pending: deque[_Pending] = deque()
        self._scorer = scorer
        self._items = items
        self._truncate = truncate
        self._max_tokens = _PACKS_AHEAD * max_pack_tokens
        self._max_waiting = _PACKS_AHEAD * max_pack_items
        self._waiting: list[tuple[QueuedSequence[EncodedItem], _Place]] = []
        self._tokens = 0
        self._characters = 0
        self._next_order = 0

    def fill(self) -> None:
        """Read and encode as far ahead as is allowed."""
        while (
            self._tokens < self._max_tokens
            and len(self._waiting) < self._max_waiting
            and len(self.pending) < _MOST_ITEMS_AHEAD
            and self._characters < _MOST_CHARACTERS_AHEAD
        ):
            item = next(self._items, None)
            if item is None:
                return
            self._enter(item)

    def take(
        self, budget: Budget, shares: bool
    ) -> list[tuple[QueuedSequence[EncodedItem], _Place]]:
        """The next pack; empty if nothing waits."""
        chosen = select_pack(
            [entry for entry, _ in self._waiting],
            budget,
            lambda: new_cost(shares_prefixes=shares),
        )
        pack = [self._waiting[index] for index in chosen]
        gone = set(chosen)
        self._waiting = [one for index, one in enumerate(self._waiting) if index not in gone]
        self._tokens -= sum(entry.item.num_tokens for entry, _ in pack)
        return pack

    def leave(self) -> _Pending:
        """The first in line, which is done."""
        done = self.pending.popleft()
        self._characters -= done.num_characters
        return done

    def _enter(self, item: _WireItem) -> None:
        dialogues = item.dialogues()
        num_characters = sum(len(str(d.prompt)) + len(d.response) for d in dialogues)
        pending = _Pending(item, [None] * len(dialogues), num_characters)
        self.pending.append(pending)
        self._characters += num_characters
        places: dict[tuple[Encoded, ...], _Place] = {}
        for index, dialogue in enumerate(dialogues):
            encoded = _encode(self._scorer, dialogue, self._truncate)
            if isinstance(encoded, ItemFailure):
                pending.outcomes[index] = encoded
                continue
            reading = tuple(encoded.by_role.values())
            if reading in places:  # runs once, so that equal responses are a tie
                places[reading].indices.append(index)
                continue
            places[reading] = _Place(pending, [index])
            entry = QueuedSequence(encoded, self._next_order, dialogue.group_key)
            self._waiting.append((entry, places[reading]))
            self._tokens += encoded.num_tokens
            self._next_order += 1


def _dumped(items: Iterator[ClientScoreItem] | Iterator[CompareItem]) -> Iterator[dict[str, Any]]:
    for item in items:
        yield item.model_dump()


def _encode(
    scorer: Scorer, dialogue: RewardInput, truncate: Truncation
) -> EncodedItem | ItemFailure:
    try:
        return scorer.encode(dialogue, truncate=truncate)
    except InputError as error:
        return ItemFailure(error.code, str(error), error.field or "")
    except Exception as error:
        # A tokenizer's bug costs one line, not the run; its message may quote the text.
        kind = type(error).__name__
        return ItemFailure("tokenizing_failed", f"The tokenizer failed on this item: {kind}.")
