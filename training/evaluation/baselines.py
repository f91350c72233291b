"""Baselines that a reward model must beat: length rules, a bag of words, a constant."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import vstack
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from training.data.examples import EncodedExample, Example
from training.evaluation.accuracy import Accuracy, accuracy_of
from training.evaluation.rewards import length_of, pair_table
from training.evaluation.scorer import Candidate, Reading, Refusal, ScorerInfo

BASELINES: Mapping[str, str] = {
    "longer_wins": "the response with more characters",
    "shorter_wins": "the response with fewer characters",
    "bag_of_words": "logistic regression on differences of word counts, fitted on the train split",
    "constant": "every response alike: all pairs are ties",
}

RewardOfTexts = Callable[[Sequence[str]], NDArray[np.float64]]
"""From texts to one reward for each, (texts,)."""

_WORD = r"(?u)\b\w+\b"  # single letters and digits too, which scikit-learn leaves out


@dataclass(frozen=True, slots=True)
class BaselineScorer:
    """A baseline as `evaluation.scorer.Scorer`: reads the response alone, or the step alone.

    Attributes:
        name: one of `BASELINES`.
        reward_of: its rule.
    """

    name: str
    reward_of: RewardOfTexts

    @property
    def info(self) -> ScorerInfo:
        """See `Scorer`."""
        return ScorerInfo(self.name, "baseline", BASELINES[self.name])

    def score(
        self, candidates: Sequence[Candidate], on_scored: Callable[[int], None]
    ) -> list[Reading | Refusal]:
        """See `Scorer`; refuses nothing."""
        rewards = self.reward_of([candidate.response for candidate in candidates]).tolist()
        steps = [_steps(candidate) for candidate in candidates]
        of_steps = iter(self.reward_of([step for own in steps for step in own]).tolist())
        on_scored(len(candidates))
        return [
            Reading(reward, tuple(next(of_steps) for _ in own) if own else None)
            for reward, own in zip(rewards, steps, strict=True)
        ]


def baseline_scorers(train: Sequence[Example] = ()) -> list[BaselineScorer]:
    """The baseline scorers; a bag of words only where there are pairs to fit it on."""
    scorers = [
        BaselineScorer("longer_wins", _lengths),
        BaselineScorer("shorter_wins", lambda texts: -_lengths(texts)),
    ]
    if any(one.pairs for one in train):
        scorers.append(BaselineScorer("bag_of_words", bag_of_words(train)))
    scorers.append(BaselineScorer("constant", lambda texts: np.zeros(len(texts))))
    return scorers


def baseline_accuracies(
    train: Sequence[EncodedExample], heldout: Sequence[EncodedExample], *, seed: int = 0
) -> dict[str, Accuracy]:
    """Held-out accuracy of each baseline but the constant; none where no pairs are held out."""
    accuracies: dict[str, Accuracy] = {}
    if not any(one.pairs for one in heldout):
        return accuracies
    for scorer in baseline_scorers(train):
        if scorer.name != "constant":  # ½ by definition
            rewards = [scorer.reward_of(one.responses).tolist() for one in heldout]
            table = pair_table(heldout, rewards)
            accuracies[scorer.name] = accuracy_of(table.gap, table.keys, seed=seed)
    return accuracies


def bag_of_words(train: Sequence[Example]) -> RewardOfTexts:
    """Fit a reward that is linear in log word counts, on at least one pair.

    A logistic regression without intercept on x_c − x_r is Bradley-Terry with that reward; the
    prompt cancels out.
    """
    vectorizer = CountVectorizer(min_df=2, token_pattern=_WORD)
    texts = [text for one in train for text in one.responses]
    try:
        vectorizer.fit(texts)
    except ValueError:
        # No word occurs twice: nothing to learn from, every pair a tie.
        return lambda given: np.zeros(len(given))
    differences = _differences(vectorizer, train)
    weights = np.array([1 / len(one.pairs) for one in train for _ in one.pairs])
    # Each pair from both sides, or the regression would see one class only.
    model = LogisticRegression(C=1.0, fit_intercept=False, max_iter=1000)
    model.fit(
        vstack([differences, -differences]),
        np.repeat([1, 0], differences.shape[0]),
        sample_weight=np.tile(weights, 2),
    )
    weight = model.coef_[0]

    def reward_of(given: Sequence[str]) -> NDArray[np.float64]:
        if not given:
            return np.zeros(0)
        rewards: NDArray[np.float64] = _log_counts(vectorizer, given) @ weight
        return rewards

    return reward_of


def _log_counts(vectorizer: Any, texts: Sequence[str]) -> Any:
    """Log word counts, (texts, words), sparse."""
    counts = vectorizer.transform(texts).astype(np.float64)
    counts.data = np.log1p(counts.data)
    return counts


def _differences(vectorizer: Any, comparisons: Sequence[Example]) -> Any:
    """Log word counts of chosen minus rejected, (pairs, words)."""
    counts = _log_counts(vectorizer, [text for one in comparisons for text in one.responses])
    chosen: list[int] = []
    rejected: list[int] = []
    offset = 0
    for comparison in comparisons:
        chosen.extend(offset + pair.chosen for pair in comparison.pairs)
        rejected.extend(offset + pair.rejected for pair in comparison.pairs)
        offset += len(comparison.responses)
    return counts[chosen] - counts[rejected]


def _lengths(texts: Sequence[str]) -> NDArray[np.float64]:
    return np.array([length_of(text) for text in texts], dtype=np.float64)


def _steps(candidate: Candidate) -> list[str]:
    starts = (0, *candidate.step_ends)
    return [
        candidate.response[start:end]
        for start, end in zip(starts, candidate.step_ends, strict=False)
    ]
