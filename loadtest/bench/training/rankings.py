"""Preference data for the comparison of trainers: rankings in, the same texts for each of them out.

Reads the collection's own rows (`prompt`, `responses`, `scores` or `ranking`) and makes chats of
them, so that no trainer's own reader stands between the file and its token ids.
"""

import gzip
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from loadtest.errors import LoadTestError

Messages = tuple[dict[str, str], ...]

_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant|System): ?")
_ROLES = {"Human": "user", "Assistant": "assistant", "System": "system"}


@dataclass(frozen=True, slots=True)
class Ranking:
    """One prompt and its responses in order.

    Attributes:
        id: of the file and the line.
        prompt: chat messages, the last one not the assistant's.
        responses: the candidates.
        ranks: of each, 0 is best, equal ranks tie.
    """

    id: str
    prompt: Messages
    responses: tuple[str, ...]
    ranks: tuple[int, ...]

    @property
    def key(self) -> str:
        """Hash of the prompt without regard to case and white space, hex."""
        text = " ".join(turn["content"] for turn in self.prompt)
        return hashlib.sha256(" ".join(text.casefold().split()).encode()).hexdigest()

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Every strict preference: (better, worse)."""
        return tuple(
            (i, j) if self.ranks[i] < self.ranks[j] else (j, i)
            for i, j in combinations(range(len(self.ranks)), 2)
            if self.ranks[i] != self.ranks[j]
        )

    def chat(self, response: int) -> list[dict[str, str]]:
        """The prompt with one of the responses."""
        return [*self.prompt, {"role": "assistant", "content": self.responses[response]}]


class Limits(NamedTuple):
    """Which rankings take part: responses at least and at most, and tokens of each text at most."""

    least: int
    most: int
    max_length: int


def read_rankings(files: Sequence[Path], limits: Limits, tokenizer: Any) -> list[Ranking]:
    """Rankings of files, each prompt once, all of their texts within the limits.

    Args:
        files: JSON lines, gzipped where the name says so.
        limits: longer responses are left out, and rankings with too few or too many that stay.
        tokenizer: with the chat template that the trainers use; None: no length is too much.

    Raises:
        LoadTestError: a file is missing, or nothing in them can be used.
    """
    found: dict[str, Ranking] = {}
    for file in files:
        for ranking in _rows(file):
            kept = _within(ranking, limits, tokenizer)
            if kept is not None:
                found.setdefault(kept.key, kept)
    if not found:
        raise LoadTestError(f"nothing in {', '.join(map(str, files))} is within {limits}")
    return list(found.values())


def is_heldout(ranking: Ranking, fraction: float) -> bool:
    """Whether a ranking is for evaluation alone, by its prompt's hash."""
    return int(ranking.key[:16], 16) < fraction * 2**64


def ranking_row(ranking: Ranking, split: str) -> dict[str, Any]:
    """A row for `rewardd train`."""
    return {
        "id": ranking.id,
        "prompt": list(ranking.prompt),
        "responses": list(ranking.responses),
        "ranking": list(ranking.ranks),
        "split": split,
    }


def pair_rows(ranking: Ranking) -> Iterator[dict[str, Any]]:
    """Rows for TRL, conversational with explicit prompt: every strict pair of the ranking."""
    for better, worse in ranking.pairs:
        yield {
            "prompt": list(ranking.prompt),
            "chosen": ranking.chat(better)[-1:],
            "rejected": ranking.chat(worse)[-1:],
        }


def messages_of(prompt: str) -> Messages:
    r"""A prompt as chat messages: a dialogue (`\n\nHuman: … \n\nAssistant:`), or one user turn."""
    marks = list(_TURN.finditer(prompt))
    if not marks or marks[0].start() != 0:
        return ({"role": "user", "content": prompt},)
    ends = [mark.start() for mark in marks[1:]] + [len(prompt)]
    turns = [
        {"role": _ROLES[mark[1]], "content": prompt[mark.end() : end].strip()}
        for mark, end in zip(marks, ends, strict=True)
    ]
    if turns[-1] == {"role": "assistant", "content": ""}:  # where the response belongs
        turns.pop()
    return tuple(turns)


def _rows(file: Path) -> Iterator[Ranking]:
    opened = gzip.open if file.suffix == ".gz" else open
    try:
        with opened(file, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                yield _ranking(json.loads(line), f"{file.name}:{number}")
    except (OSError, ValueError, KeyError) as exc:
        raise LoadTestError(f"{file} can't be read: {type(exc).__name__}") from exc


def _ranking(row: Mapping[str, Any], id_: str) -> Ranking:
    worth = row["scores"] if "scores" in row else [-rank for rank in row["ranking"]]
    order = sorted(set(worth), reverse=True)
    ranks = tuple(order.index(value) for value in worth)
    return Ranking(id_, messages_of(row["prompt"]), tuple(row["responses"]), ranks)


def _within(ranking: Ranking, limits: Limits, tokenizer: Any) -> Ranking | None:
    """The ranking without repeated, empty and over-long responses; None where too few are left."""
    if not all(turn["content"].strip() for turn in ranking.prompt):
        return None
    texts = [response.strip() for response in ranking.responses]

    def fits(at: int) -> bool:
        if not texts[at] or texts.index(texts[at]) != at:
            return False
        if tokenizer is None:
            return True
        ids = tokenizer.apply_chat_template(ranking.chat(at), return_dict=False)
        return len(ids) <= limits.max_length

    kept = [at for at in range(len(texts)) if fits(at)]
    if not limits.least <= len(kept) <= limits.most:
        return None
    found = replace(
        ranking,
        responses=tuple(ranking.responses[at] for at in kept),
        ranks=tuple(ranking.ranks[at] for at in kept),
    )
    return found if found.pairs else None
