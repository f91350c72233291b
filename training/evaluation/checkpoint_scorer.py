"""A checkpoint as an evaluation's scorer: on the engine that serves it, in this process.

The rewards are the calibrated ones, as a server would give them out.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from rm_core.checkpoint.files import resolve_directory
from rm_core.checkpoint.manifest import read_manifest
from rm_core.engine import DType, load_engine
from rm_core.engine.packing.cost import SharedPrefixCost, new_cost
from rm_core.engine.packing.distinct import reading_digest
from rm_core.engine.packing.policy import TokenBudgetController, TokenSum
from rm_core.errors import DetailUnavailable, EngineClosed, EngineError, InputError, OutOfMemory
from rm_core.rewards import Calibration, calibrate
from rm_core.types import Dialogue, EncodedItem, Role, TokenIds, Truncation
from rm_core.types import Scorer as EngineScorer
from training.evaluation.scorer import Candidate, Reading, Refusal, ScorerInfo

DEFAULT_PACK_TOKENS = 8192
_MOST_PACK_ITEMS = 256
_ENCODED_AT_ONCE = 1024


class CheckpointScorer:
    """A checkpoint that is loaded when it scores and let go of when it has scored.

    Args:
        name: a directory, or a name on the hub.
        label: what tables call it; None: its name.
        device: where it runs.
        dtype: of the trunk.
        truncate: whether too long a text is refused, or its prompt's left is cut.
        max_pack_tokens: deduplicated tokens of one forward pass.

    Raises:
        CheckpointError: there is no checkpoint of that name, or its manifest can't be read.
    """

    def __init__(
        self,
        name: str,
        *,
        label: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        truncate: Truncation = "error",
        max_pack_tokens: int = DEFAULT_PACK_TOKENS,
    ) -> None:
        manifest = read_manifest(Path(resolve_directory(name)))
        role = None if manifest is None else manifest.role
        self._name = name
        self._device = device
        self._dtype = dtype
        self._truncate: Truncation = truncate
        self._max_pack_tokens = max_pack_tokens
        self._info = ScorerInfo(label or name, "reward_model", f"checkpoint {name}", role)

    @property
    def info(self) -> ScorerInfo:
        """See `Scorer`."""
        return self._info

    def score(
        self, candidates: Sequence[Candidate], on_scored: Callable[[int], None]
    ) -> list[Reading | Refusal]:
        """See `Scorer`.

        Raises:
            RewardError: the checkpoint can't be loaded, or the machine lacks the device.
        """
        # A model without a manifest has no role; evaluation gives it either's.
        role: Role = self._info.role or "helpfulness"
        engine = load_engine(
            safety=self._name if role == "safety" else None,
            helpfulness=self._name if role == "helpfulness" else None,
            device=self._device,
            dtype=cast("DType", self._dtype),
        )
        try:
            self._info = replace(self._info, digest=engine.profiles[role].digest)
            scorer = EngineReader(engine, role, self._truncate, self._max_pack_tokens)
            return scorer.read(candidates, on_scored)
        finally:
            engine.close()


class EngineReader:
    """Readings of candidates by one model of an engine.

    Args:
        engine: with the model loaded.
        role: the model's.
        truncate: see `CheckpointScorer`.
        max_pack_tokens: see `CheckpointScorer`.
        calibration: of the rewards that it gives; None: the checkpoint's own.
    """

    def __init__(
        self,
        engine: EngineScorer,
        role: Role,
        truncate: Truncation,
        max_pack_tokens: int,
        *,
        calibration: Calibration | None = None,
    ) -> None:
        self._engine = engine
        self._role = role
        self._truncate: Truncation = truncate
        self._cap = TokenBudgetController(max_pack_tokens)
        profile = engine.profiles[role]
        self._calibration = calibration or Calibration(profile.temperature, profile.bias)

    def read(
        self, candidates: Sequence[Candidate], on_scored: Callable[[int], None]
    ) -> list[Reading | Refusal]:
        """A reading or a refusal for each candidate, in order; equal texts run once."""
        readings: list[Reading | Refusal] = []
        known: dict[bytes, Reading | Refusal] = {}
        # Encodings of everything at once would fill the memory of long evaluations.
        for start in range(0, len(candidates), _ENCODED_AT_ONCE):
            some = candidates[start : start + _ENCODED_AT_ONCE]
            readings += self._read_some(some, known, on_scored)
        return readings

    def _read_some(
        self,
        candidates: Sequence[Candidate],
        known: dict[bytes, Reading | Refusal],
        on_scored: Callable[[int], None],
    ) -> list[Reading | Refusal]:
        """See `read`; `known` has what was read before, by what was read, and gets the rest."""
        encoded = [self._encode(candidate) for candidate in candidates]
        entries = [
            entry if isinstance(entry, Refusal) else (reading_digest(entry), entry)
            for entry in encoded
        ]
        unknown = {
            entry[0]: entry[1]
            for entry in entries
            if not isinstance(entry, Refusal) and entry[0] not in known
        }
        on_scored(len(candidates) - len(unknown))
        for pack in self._packs(list(unknown.items())):
            found = self._forward([item for _, item in pack])
            known.update(zip((digest for digest, _ in pack), found, strict=True))
            on_scored(len(pack))
        return [entry if isinstance(entry, Refusal) else known[entry[0]] for entry in entries]

    def _encode(self, candidate: Candidate) -> EncodedItem | Refusal:
        try:
            if candidate.token_ids is not None:
                return self._engine.encode(TokenIds(candidate.token_ids), truncate=self._truncate)
            dialogue = Dialogue(candidate.prompt, candidate.response)
            if candidate.step_ends:
                try:
                    at_steps = replace(dialogue, read_at=candidate.step_ends)
                    return self._engine.encode(at_steps, truncate=self._truncate)
                except DetailUnavailable:
                    pass  # the whole response still has a reward
            return self._engine.encode(dialogue, truncate=self._truncate)
        except InputError as error:
            return Refusal(error.code)

    def _packs(
        self, items: Sequence[tuple[bytes, EncodedItem]]
    ) -> Iterator[list[tuple[bytes, EncodedItem]]]:
        """Runs of items within the budget; those of one prompt come together, and share it."""
        pack: list[tuple[bytes, EncodedItem]] = []
        tokens, growing = 0, self._new_cost()
        for entry in items:
            cost = growing.cost([entry[1]])
            if pack and (tokens + cost > self._cap.tokens or len(pack) >= _MOST_PACK_ITEMS):
                yield pack
                pack, tokens, growing = [], 0, self._new_cost()
                cost = growing.cost([entry[1]])
            growing.add(entry[1])
            pack.append(entry)
            tokens += cost
        if pack:
            yield pack

    def _new_cost(self) -> SharedPrefixCost | TokenSum:
        return new_cost(shares_prefixes=self._engine.shares_prefixes)

    def _forward(self, items: Sequence[EncodedItem]) -> list[Reading | Refusal]:
        """Of one pack, in halves where it fails as a whole."""
        tokens = self._new_cost().cost(items)
        reason = EngineError.code
        try:
            rewards = self._rewards(items)
        except EngineClosed:
            raise
        except OutOfMemory:
            self._cap.failed(tokens)
            reason = OutOfMemory.code
        except EngineError:
            pass
        else:
            self._cap.succeeded(tokens)
            return [
                self._reading(values, item) for values, item in zip(rewards, items, strict=True)
            ]
        if len(items) == 1:
            return [Refusal(reason)]
        middle = len(items) // 2
        return self._forward(items[:middle]) + self._forward(items[middle:])

    def _rewards(self, items: Sequence[EncodedItem]) -> list[tuple[float, ...]]:
        """Raw rewards: the response's, then those of its steps."""
        if not any(item.num_extra_positions for item in items):
            return [(values[self._role],) for values in self._engine.forward(items)]
        return [values[self._role] for values in self._engine.forward_positions(items)]

    def _reading(self, values: tuple[float, ...], item: EncodedItem) -> Reading | Refusal:
        rewards = calibrate(np.array(values), self._calibration)
        if not np.isfinite(rewards).all():
            return Refusal("non_finite_reward")
        first, *steps = (float(value) for value in rewards)
        return Reading(first, tuple(steps) if item.num_extra_positions else None)
