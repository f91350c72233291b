"""Held-out accuracy of every trainer's checkpoint, by one and the same evaluator: the engine.

A few rewards of each checkpoint are also compared with transformers' own forward of that text
alone, so that the evaluator itself is scored.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from loadtest.bench.training.rankings import Ranking
from loadtest.errors import LoadTestError
from loadtest.oracle import load_tokenizer, rewards_alone
from rm_core.engine import load_engine
from rm_core.types import Dialogue, Message, Role

CHECKED = 4
"""Texts of a checkpoint that are also scored by transformers alone."""

TOLERANCE = 1e-4
_PACK = 64  # rankings in a forward


class AccuracyScorer:
    """One checkpoint, read as its position contract says.

    Args:
        checkpoint: a directory.
        role: of the reward model.
    """

    def __init__(self, checkpoint: Path, role: Role) -> None:
        self._checkpoint = checkpoint
        self._role = role
        self._engine = load_engine({role: str(checkpoint)}, device="cpu")

    def right(self, rankings: Sequence[Ranking]) -> list[float]:
        """For every strict pair of every ranking 1 if it is ordered right, ½ for equal rewards.

        Raises:
            LoadTestError: the engine and transformers disagree on a reward.
        """
        found: list[float] = []
        for start in range(0, len(rankings), _PACK):
            part = rankings[start : start + _PACK]
            items = [self._engine.encode(dialogue) for each in part for dialogue in dialogues(each)]
            rewards = [each[self._role][0] for each in self._engine.forward(items)]
            if start == 0:
                self._check(part, rewards)
            given = iter(rewards)
            for ranking in part:
                own = [next(given) for _ in ranking.responses]
                gaps = [own[good] - own[bad] for good, bad in ranking.pairs]
                found += [0.5 if gap == 0 else float(gap > 0) for gap in gaps]
        return found

    def text_digests(self, rankings: Sequence[Ranking]) -> set[str]:
        """Digests of the token ids of every text, as the workers make them."""
        ids = (
            self._engine.encode(dialogue).by_model[self._role].input_ids
            for ranking in rankings
            for dialogue in dialogues(ranking)
        )
        return {hashlib.sha256(repr(list(map(int, each))).encode()).hexdigest() for each in ids}

    def _check(self, rankings: Sequence[Ranking], rewards: Sequence[float]) -> None:
        tokenizer = load_tokenizer(self._checkpoint)
        chats = [ranking.chat(i) for ranking in rankings for i in range(len(ranking.responses))]
        wholes = [tokenizer.apply_chat_template(chat, tokenize=False) for chat in chats[:CHECKED]]
        alone = rewards_alone(self._checkpoint, wholes)
        for mine, true in zip(rewards, alone, strict=False):
            if not abs(mine - true) <= TOLERANCE * (1 + abs(true)):
                raise LoadTestError(
                    f"{self._checkpoint}: a reward is {mine}, transformers' own {true}"
                )


def dialogues(ranking: Ranking) -> Iterator[Dialogue]:
    """Each response with the prompt, as the engine reads them."""
    prompt = tuple(Message(turn["role"], turn["content"]) for turn in ranking.prompt)
    for response in ranking.responses:
        yield Dialogue(prompt, response)
