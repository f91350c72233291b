"""Raw rewards of texts, from a model as training holds it or as the server will run it."""

from collections.abc import Callable, Sequence
from typing import Any

from rm_core.checkpoint.manifest import HeadKind
from rm_core.errors import InputError
from rm_core.rewards import Calibration
from rm_core.text.encoder import TextEncoder
from rm_core.types import Dialogue, Encoded, Role, Scorer, TokenIds, Truncation
from training.batches.padded import BatchLayout
from training.data.examples import EncodedExample
from training.evaluation import score_examples
from training.evaluation.checkpoint_scorer import DEFAULT_PACK_TOKENS, EngineReader
from training.evaluation.scorer import Candidate, Reading, Refusal

Reader = Callable[[Sequence[Candidate]], Sequence[Reading | Refusal]]
"""Gives a raw reward or a refusal for each candidate, in order."""


def served_reader(engine: Scorer, role: Role, *, truncate: Truncation = "error") -> Reader:
    """Rewards as the server will compute them, before any calibration."""
    reader = EngineReader(engine, role, truncate, DEFAULT_PACK_TOKENS, calibration=Calibration())
    return lambda candidates: reader.read(candidates, lambda _: None)


def trained_reader(
    model: Any,
    encoder: TextEncoder,
    *,
    pad_token_id: int,
    head: HeadKind = "last_token",
    layout: BatchLayout | None = None,
    truncate: Truncation = "error",
) -> Reader:
    """Rewards of a model in memory, as training measures its held-out split."""

    def encoded(candidate: Candidate) -> Encoded | Refusal:
        try:
            if candidate.token_ids is not None:
                return encoder.encode(TokenIds(candidate.token_ids))
            dialogue = Dialogue(candidate.prompt, candidate.response)
            return encoder.encode(dialogue, truncate=truncate)
        except InputError as error:
            return Refusal(error.code)

    def read(candidates: Sequence[Candidate]) -> list[Reading | Refusal]:
        texts = [encoded(candidate) for candidate in candidates]
        readable = [text for text in texts if isinstance(text, Encoded)]
        # The forward knows examples: these have one response each and nothing to compare.
        alone = [EncodedExample("", "", "", ("",), encoded=(text,)) for text in readable]
        rewards = iter(
            score_examples(model, alone, pad_token_id=pad_token_id, head=head, layout=layout)
        )
        return [text if isinstance(text, Refusal) else Reading(next(rewards)[0]) for text in texts]

    return read
