"""Hand-written stand-ins for slow or unruly parts."""

import hashlib
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rm_core.engine.reward_cache import RewardCache
from rm_core.errors import EmptyText, InputTooLong, OutOfMemory
from rm_core.types import (
    ROLES,
    Dialogue,
    Encoded,
    EncodedItem,
    EngineCacheStats,
    ItemRewards,
    ModelName,
    ModelProfile,
    ReadPosition,
    RenderedText,
    RewardInput,
    TokenIds,
    Truncation,
)

NAN_MARK = "[nan]"
ERROR_MARK = "[error]"
ENCODE_ERROR_MARK = "[encode-error]"


def fake_reward(name: ModelName, dialogue: Dialogue) -> float:
    """A reward in [-4, 4) that only the text decides."""
    text = repr((name, dialogue.prompt, dialogue.response)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:4]) / 2**32 * 8.0 - 4.0


def as_dialogue(given: RewardInput) -> Dialogue:
    """What a rendered text or ids would be as a dialogue without a prompt."""
    if isinstance(given, RenderedText):
        return Dialogue("", given.text)
    if isinstance(given, TokenIds):
        return Dialogue("", " ".join(map(str, given.ids)))
    return given


def fake_places(dialogue: Dialogue) -> tuple[ReadPosition, ...]:
    """A token for each word of the response; steps end where they are said to."""
    if dialogue.read_at == "end":
        return ()
    ends = dialogue.read_at
    if ends == "tokens":
        ends = tuple(match.end() for match in re.finditer(r"\S+", dialogue.response))
    begins = (0, *ends)
    first = len(str(dialogue.prompt).split())
    return tuple(
        ReadPosition(
            first + len(dialogue.response[:end].split()) - 1,
            begin,
            end,
            dialogue.response[begin:end],
        )
        for begin, end in zip(begins, ends, strict=False)
    )


class FakeScorer:
    """A scorer without a model: one token per word, rewards from a hash of the text.

    `gate` holds the forward until it is set; `begun` is set when a forward starts; `max_fitting`
    is the most items that fit; `forwards` records each pack's responses and
    `planned` those that were planned ahead; `plan_error` is raised there; `die` ends the thread;
    of each text the first `kept_tokens` are in the cache of prefixes; `stats` are the caches'.
    """

    def __init__(self, models: tuple[ModelName, ...] = ROLES, *, max_length: int = 4096) -> None:
        self.model_names = models
        self.max_length = max_length
        self.shares_prefixes = False
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()
        self.max_fitting = 10**9
        self.die = False
        self.forwards: list[list[str]] = []
        self.planned: list[list[str]] = []
        self.plan_error: Exception | None = None
        self.failed: list[int] = []
        self.encoded = 0
        self.kept_tokens = 0
        self.stats = EngineCacheStats()
        self._texts: dict[tuple[int, ...], Dialogue] = {}
        self._lock = threading.Lock()

    @property
    def profiles(self) -> Mapping[ModelName, ModelProfile]:
        return {
            name: ModelProfile(
                name, f"fake-{name}", hashlib.sha256(name.encode()).hexdigest(), None, 4096
            )
            for name in self.model_names
        }

    def encode(self, dialogue: RewardInput, *, truncate: Truncation = "error") -> EncodedItem:
        dialogue = as_dialogue(dialogue)
        if ENCODE_ERROR_MARK in dialogue.response:
            raise RuntimeError("tokenizer bug about " + dialogue.response)
        if not dialogue.allow_empty and not dialogue.response.strip():
            raise EmptyText("the response holds nothing to judge", field="response")
        words = f"{dialogue.prompt} {dialogue.response}".split()
        warnings: tuple[str, ...] = ()
        if len(words) > self.max_length:
            if truncate == "error":
                raise InputTooLong(len(words), self.max_length, field="response")
            words, warnings = words[-self.max_length :], ("truncated",)
        with self._lock:
            self.encoded += 1
            # The last id names the dialogue; those before are a prefix that all have in common.
            ids = (*range(len(words) - 1), 1_000_000 + len(self._texts))
            self._texts[ids] = dialogue
        encoded = Encoded(ids, len(ids) - 1, None, warnings, fake_places(dialogue))
        return EncodedItem(dict.fromkeys(self.model_names, encoded))

    def forward(self, items: Sequence[EncodedItem]) -> list[ItemRewards]:
        dialogues = [self._texts[item.by_model[self.model_names[0]].input_ids] for item in items]
        self.begun.set()
        if self.die:
            raise SystemExit("the device thread dies")
        if not self.gate.wait(60):
            raise TimeoutError("the test never opened the gate")
        if len(items) > self.max_fitting:
            self.failed.append(len(items))
            raise OutOfMemory("fake device is full")
        if any(ERROR_MARK in dialogue.response for dialogue in dialogues):
            self.failed.append(len(items))
            raise RuntimeError("kernel failed on " + dialogues[0].response)
        self.forwards.append([dialogue.response for dialogue in dialogues])
        return [
            {
                name: (
                    float("nan") if NAN_MARK in dialogue.response else fake_reward(name, dialogue),
                    *self._within(name, item),
                )
                for name in self.model_names
            }
            for item, dialogue in zip(items, dialogues, strict=True)
        ]

    def _within(self, name: ModelName, item: EncodedItem) -> Iterator[float]:
        encoded = item.by_model[name]
        dialogue = self._texts[encoded.input_ids]
        for place in encoded.extra_positions:
            yield fake_reward(name, replace(dialogue, response=dialogue.response[: place.end]))

    def plan_ahead(self, items: Sequence[EncodedItem]) -> None:
        if self.plan_error is not None:
            raise self.plan_error
        first = self.model_names[0]
        self.planned.append(
            [self._texts[item.by_model[first].input_ids].response for item in items]
        )

    def cached_tokens(self, item: EncodedItem) -> int:
        return min(self.kept_tokens, item.num_tokens)

    def cached_rewards(self, item: EncodedItem) -> ItemRewards | None:
        return None

    def cache_stats(self) -> EngineCacheStats:
        return self.stats

    def describe(self) -> dict[str, Any]:
        return {name: {"path": "fake"} for name in self.model_names}


class DriftingScorer(FakeScorer):
    """Equal texts have equal ids here, and no two that run get the same bits."""

    def __init__(self) -> None:
        super().__init__()
        self._encoded: dict[RewardInput, EncodedItem] = {}
        self._num_run = 0

    def encode(self, dialogue: RewardInput, *, truncate: Truncation = "error") -> EncodedItem:
        if dialogue not in self._encoded:
            self._encoded[dialogue] = super().encode(dialogue, truncate=truncate)
        return self._encoded[dialogue]

    def forward(self, items: Sequence[EncodedItem]) -> list[ItemRewards]:
        found = super().forward(items)
        for rewards in found:
            self._num_run += 1
            for name, (own, *within) in rewards.items():
                rewards[name] = (own + self._num_run * 1e-6, *within)
        return found


class RememberingScorer(FakeScorer):
    """Keeps the rewards that it gave, as the engine does; a text computed anew has other bits."""

    def __init__(self) -> None:
        super().__init__()
        self.rewards = RewardCache(2**20)
        self._encoded: dict[tuple[RewardInput, Truncation], EncodedItem] = {}
        self._runs: Counter[tuple[int, ...]] = Counter()

    def encode(self, dialogue: RewardInput, *, truncate: Truncation = "error") -> EncodedItem:
        given = (replace(as_dialogue(dialogue), read_at="end"), truncate)
        same = self._encoded.get(given) or super().encode(given[0], truncate=truncate)
        self._encoded[given] = same
        places = fake_places(as_dialogue(dialogue))
        encoded = replace(same.by_model[self.model_names[0]], extra_positions=places)
        return EncodedItem(dict.fromkeys(self.model_names, encoded))

    def forward(self, items: Sequence[EncodedItem]) -> list[ItemRewards]:
        found = super().forward(items)
        for item, rewards in zip(items, found, strict=True):
            ids = item.by_model[self.model_names[0]].input_ids
            for name, (own, *within) in rewards.items():
                rewards[name] = (own + self._runs[ids] * 1e-6, *within)
            self._runs[ids] += 1
            self.rewards.keep(item, rewards)
        return found

    def cached_rewards(self, item: EncodedItem) -> ItemRewards | None:
        return self.rewards.find(item)

    def cache_stats(self) -> EngineCacheStats:
        return replace(self.stats, rewards=self.rewards.stats())
