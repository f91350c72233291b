"""A checkpoint as an evaluation's scorer: on the engine that serves it, in this process.

The rewards are the calibrated ones, as a server would give them out.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from rm_core.checkpoint.files import resolve_directory
from rm_core.checkpoint.manifest import read_manifest
from rm_core.engine import DType, EngineOptions, load_engine
from rm_core.engine.packing.offline import OfflineOutcome, OfflineScorer
from rm_core.errors import DetailUnavailable, EngineError, InputError
from rm_core.rewards import Calibration, calibrate
from rm_core.types import Dialogue, EncodedItem, Role, TokenIds, Truncation
from rm_core.types import Scorer as EngineScorer
from training.evaluation.scorer import Candidate, Reading, Refusal, ScorerInfo

DEFAULT_PACK_TOKENS = 8192


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
            {role: self._name},
            EngineOptions(dtype=cast("DType", self._dtype)),
            device=self._device,
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
        self._packs: OfflineScorer[tuple[int, EncodedItem]] = OfflineScorer(
            engine, max_pack_tokens=max_pack_tokens, remember=True
        )
        profile = engine.profiles[role]
        self._calibration = calibration or Calibration(profile.temperature, profile.bias)

    def read(
        self, candidates: Sequence[Candidate], on_scored: Callable[[int], None]
    ) -> list[Reading | Refusal]:
        """A reading or a refusal for each candidate, in order; equal texts run once."""
        readings: dict[int, Reading | Refusal] = {}

        def run_pack() -> None:
            settled = self._packs.run_next()
            for (index, item), outcome in settled:
                readings[index] = self._reading(outcome, item)
            on_scored(len(settled))

        for index, candidate in enumerate(candidates):
            item = self._encode(candidate)
            if isinstance(item, Refusal):
                readings[index] = item
                on_scored(1)
                continue
            self._packs.put((index, item), item, candidate.prompt)
            while not self._packs.has_room:
                run_pack()
        while not self._packs.is_idle:
            run_pack()
        return [readings[index] for index in range(len(candidates))]

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

    def _reading(self, outcome: OfflineOutcome, item: EncodedItem) -> Reading | Refusal:
        if isinstance(outcome, EngineError):
            return Refusal(outcome.code)
        rewards = calibrate(np.array(outcome[self._role]), self._calibration)
        if not np.isfinite(rewards).all():
            return Refusal("non_finite_reward")
        first, *steps = (float(value) for value in rewards)
        return Reading(first, tuple(steps) if item.num_extra_positions else None)
