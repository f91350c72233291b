"""The true rewards: transformers' own forward of each text alone, computed once and kept.

float32 on the CPU, batch size 1, no padding. It knows nothing of the engine that it scores.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadtest.errors import LoadTestError
from loadtest.models import quiet_transformers
from loadtest.peers.contract import Rewards
from loadtest.workloads import Request, Text

RELEVANT_FILES = ("*.safetensors", "config.json", "tokenizer*", "*.jinja")


@dataclass(slots=True)
class Oracle:
    """What each checkpoint says of each text.

    Attributes:
        models: directories of checkpoints by role.
        cache: JSON file of the rewards known so far; None keeps them in memory only.
        tolerance: a reward r is right within tolerance · (1 + |r|).
    """

    models: Mapping[str, Path]
    cache: Path | None = None
    tolerance: float = 1e-4
    _known: dict[str, dict[str, float]] = field(init=False, default_factory=dict)
    _digests: dict[str, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for role, directory in self.models.items():
            self._digests[role] = checkpoint_digest(directory)
        if self.cache is not None and self.cache.exists():
            try:
                self._known = json.loads(self.cache.read_text("utf-8"))
            except ValueError as exc:
                raise LoadTestError(f"{self.cache} is not JSON; delete it") from exc

    def learn(self, texts: Iterable[Text]) -> None:
        """Compute and keep the rewards of texts that are not known yet; takes a while."""
        wholes = list(dict.fromkeys(text.whole for text in texts))
        learnt = False
        for role, directory in self.models.items():
            known = self._known.setdefault(self._digests[role], {})
            missing = [whole for whole in wholes if _key(whole) not in known]
            if missing:
                values = rewards_alone(directory, missing)
                known.update(zip(map(_key, missing), values, strict=True))
                learnt = True
        if learnt and self.cache is not None:
            self.cache.parent.mkdir(parents=True, exist_ok=True)
            partial = self.cache.with_name(self.cache.name + ".partial")
            partial.write_text(json.dumps(self._known), "utf-8")
            partial.replace(self.cache)

    def reward(self, role: str, text: Text) -> float:
        """The true reward of a text that was learnt."""
        return self._known[self._digests[role]][_key(text.whole)]

    def errors(self, request: Request, found: Rewards) -> list[tuple[float, bool]]:
        """For each role and text how far a reward is off, and whether that is too far.

        Raises:
            LoadTestError: the server scores by a role that the oracle has no checkpoint of, or
                lacks one that it has.
        """
        if found.keys() != self.models.keys():
            raise LoadTestError(
                f"the server answers with {sorted(found)} and the oracle knows "
                f"{sorted(self.models)}; give --safety-model and --helpfulness-model as the "
                "server has them"
            )
        checked: list[tuple[float, bool]] = []
        for role, values in found.items():
            for text, value in zip(request.texts, values, strict=True):
                true = self.reward(role, text)
                error = abs(value - true)
                checked.append((error, not error <= self.tolerance * (1 + abs(true))))
        return checked


def checkpoint_digest(directory: Path) -> str:
    """sha256 over the files that decide rewards, hex.

    Raises:
        LoadTestError: no checkpoint there.
    """
    if not (directory / "config.json").exists():
        raise LoadTestError(f"{directory} holds no checkpoint: config.json is missing")
    files = {path for pattern in RELEVANT_FILES for path in directory.glob(pattern)}
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.name.encode() + b"\0")
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def rewards_alone(directory: Path, wholes: list[str]) -> list[float]:
    """Rewards of whole texts, each in a forward of its own."""
    import torch
    from transformers import AutoModelForSequenceClassification

    quiet_transformers()
    tokenizer = load_tokenizer(directory)
    # A template has put the special tokens in; without one they are the tokenizer's business.
    add_special_tokens = not isinstance(tokenizer.chat_template, str)
    model = AutoModelForSequenceClassification.from_pretrained(
        directory, dtype=torch.float32, use_safetensors=True
    ).eval()
    rewards = []
    with torch.inference_mode():
        for whole in wholes:
            ids = tokenizer(whole, add_special_tokens=add_special_tokens)["input_ids"]
            rewards.append(float(model(input_ids=torch.tensor([ids])).logits[0, 0]))
    return rewards


def load_tokenizer(directory: Path) -> Any:
    """A checkpoint's tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(directory)


def _key(whole: str) -> str:
    return hashlib.sha256(whole.encode()).hexdigest()
