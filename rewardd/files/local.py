"""Scoring a file in this process: the engine, packed as the server packs, without the server.

Items, selection and replies are the service's own, so that a file scored here and one scored by
a server say the same.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from pydantic import TypeAdapter

from rewardd.files.remote import Result, as_result
from rm_client.models import (
    CompareItem,
    ComparisonReply,
    FailedReply,
    GroupReply,
    ResponseReply,
    ScoreItem,
)
from rm_core import __version__
from rm_core.checkpoint.source import ModelSource
from rm_core.engine.packing.offline import DEFAULT_PACK_ITEMS, OfflineOutcome, OfflineScorer
from rm_core.errors import EngineError, InputError, OutOfMemory
from rm_core.rewards.rule import RewardRule, ScoredItem, apply_reward_rule
from rm_core.types import EncodedItem, RewardInput, Scorer, Truncation
from service.batching.pack_runner import ENGINE_FAILURE, OUT_OF_MEMORY, outcome_of
from service.named_models import named_sources
from service.observability.metrics import Metrics
from service.problems import detail_of
from service.results import ItemFailure, ItemResult, ScoreOutcome
from service.schemas.score import ScorableWireItem
from service.scoring.compare_reply import comparison_json
from service.scoring.model_info import models_json, selection_json
from service.scoring.score_reply import item_json

_MOST_ITEMS_AHEAD = 2048
_MOST_CHARACTERS_AHEAD = 16 * 1024 * 1024

_SCORE_REPLY: TypeAdapter[ResponseReply | GroupReply | FailedReply] = TypeAdapter(
    ResponseReply | GroupReply | FailedReply
)
_COMPARE_REPLY: TypeAdapter[ComparisonReply | FailedReply] = TypeAdapter(
    ComparisonReply | FailedReply
)


@dataclass(slots=True)
class _Pending:
    """An item whose responses are not all scored yet."""

    item: ScorableWireItem
    outcomes: list[ScoreOutcome | None]
    num_characters: int

    @property
    def is_done(self) -> bool:
        return all(outcome is not None for outcome in self.outcomes)


_Place = tuple[_Pending, int, EncodedItem]
"""Which response of which item an encoding is."""


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
        self._max_pack_tokens = max_pack_tokens
        self._max_pack_items = max_pack_items
        self._metrics = Metrics()  # what the replies count; nobody scrapes it here

    def info(self) -> dict[str, Any]:
        """See `FileScorer`."""
        profiles = self._scorer.profiles
        return {
            "service": {"name": "rewardd", "version": __version__},
            "models": models_json(profiles),
            "engine": self._scorer.describe(),
            "selection": selection_json(self._rule, profiles),
        }

    def score(
        self, items: Iterator[ScoreItem], truncate: Truncation, stop: Sequence[str] = ()
    ) -> Iterator[Result]:
        """See `FileScorer`."""
        asked_of = partial(ScorableWireItem, stops=tuple(stop))
        for asked, scored in self._scored(map(asked_of, items), truncate):
            reply = item_json(asked.item, scored, self._metrics)
            yield as_result(_SCORE_REPLY.validate_python(reply))

    def compare(
        self, items: Iterator[CompareItem], truncate: Truncation, stop: Sequence[str] = ()
    ) -> Iterator[Result]:
        """See `FileScorer`."""
        asked_of = partial(ScorableWireItem, stops=tuple(stop))
        for _, scored in self._scored(map(asked_of, items), truncate):
            found = comparison_json(scored, "", self._metrics)
            reply = found.as_json() if isinstance(found, ItemFailure) else found
            yield as_result(_COMPARE_REPLY.validate_python(reply))

    def close(self) -> None:
        """See `FileScorer`."""
        close = getattr(self._scorer, "close", None)
        if close is not None:
            close()

    def _scored(
        self, items: Iterator[ScorableWireItem], truncate: Truncation
    ) -> Iterator[tuple[ScorableWireItem, list[ItemResult]]]:
        """Each item with its rewards, in order; the next are encoded while the device works."""
        with ThreadPoolExecutor(1, "rewardd-forward") as device:
            packs: OfflineScorer[_Place] = OfflineScorer(
                self._scorer,
                max_pack_tokens=self._max_pack_tokens,
                max_pack_items=self._max_pack_items,
                device=device,
            )
            line = _Line(self._scorer, packs, items, truncate)
            line.fill()
            while line.pending:
                for (pending, index, encoded), found in packs.run_next(meanwhile=line.fill):
                    pending.outcomes[index] = _outcome(encoded, found)
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


def load(
    *,
    safety: str | None,
    helpfulness: str | None,
    further: Sequence[str] = (),
    device: str = "auto",
    dtype: str = "auto",
    max_pack_tokens: int,
) -> LocalScorer:
    """A scorer of one or more checkpoints.

    Args:
        safety: directory or hub name of that model; None: not loaded.
        helpfulness: likewise.
        further: other models, each NAME=DIRECTORY.
        device: where they run.
        dtype: numbers of the forward pass.
        max_pack_tokens: of one forward pass.

    Raises:
        ConfigurationError: a further model is not named so.
        RewardError: a checkpoint can't be used, or the machine lacks the device.
    """
    from transformers.utils.logging import disable_progress_bar

    from rm_core.engine import DType, EngineOptions, load_engine

    disable_progress_bar()  # the command has its own
    roles = {"safety": safety, "helpfulness": helpfulness}
    models = {role: ModelSource.of(name) for role, name in roles.items() if name is not None}
    models |= named_sources(further)
    engine = load_engine(models, EngineOptions(dtype=cast("DType", dtype)), device=device)
    return LocalScorer(engine, max_pack_tokens=max_pack_tokens)


class _Line:
    """What was read ahead: items in order, until all their responses have outcomes."""

    def __init__(
        self,
        scorer: Scorer,
        packs: OfflineScorer[_Place],
        items: Iterator[ScorableWireItem],
        truncate: Truncation,
    ) -> None:
        self.pending: deque[_Pending] = deque()
        self._scorer = scorer
        self._packs = packs
        self._items = items
        self._truncate = truncate
        self._characters = 0

    def fill(self) -> None:
        """Read and encode as far ahead as is allowed."""
        while (
            self._packs.has_room
            and len(self.pending) < _MOST_ITEMS_AHEAD
            and self._characters < _MOST_CHARACTERS_AHEAD
        ):
            item = next(self._items, None)
            if item is None:
                return
            self._enter(item)

    def leave(self) -> _Pending:
        """The first in line, which is done."""
        done = self.pending.popleft()
        self._characters -= done.num_characters
        return done

    def _enter(self, item: ScorableWireItem) -> None:
        dialogues = item.dialogues()
        num_characters = sum(len(str(d.prompt)) + len(d.response) for d in dialogues)
        pending = _Pending(item, [None] * len(dialogues), num_characters)
        self.pending.append(pending)
        self._characters += num_characters
        for index, dialogue in enumerate(dialogues):
            encoded = _encode(self._scorer, dialogue, self._truncate)
            if isinstance(encoded, ItemFailure):
                pending.outcomes[index] = encoded
            else:
                self._packs.put((pending, index, encoded), encoded, dialogue.group_key)


def _outcome(encoded: EncodedItem, found: OfflineOutcome) -> ScoreOutcome:
    if isinstance(found, EngineError):
        return OUT_OF_MEMORY if isinstance(found, OutOfMemory) else ENGINE_FAILURE
    return outcome_of(encoded, found)


def _encode(
    scorer: Scorer, dialogue: RewardInput, truncate: Truncation
) -> EncodedItem | ItemFailure:
    try:
        return scorer.encode(dialogue, truncate=truncate)
    except InputError as error:
        return ItemFailure(error.code, detail_of(error), error.field or "")
    except Exception as error:
        # A tokenizer's bug costs one line, not the run; its message may quote the text.
        kind = type(error).__name__
        return ItemFailure("tokenizing_failed", f"The tokenizer failed on this item: {kind}.")
