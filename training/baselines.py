"""What a reward model must beat: length rules, and words without order or prompt."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.sparse import vstack
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from training.comparisons import Comparison
from training.evaluation import Accuracy, accuracy_of

BASELINES: Mapping[str, str] = {
    "longer_wins": "the response with more characters",
    "shorter_wins": "the response with fewer characters",
    "bag_of_words": "logistic regression on differences of word counts, fitted on the train split",
}

_WORD = r"(?u)\b\w+\b"  # single letters and digits too, which scikit-learn leaves out


def baseline_accuracies(
    train: Sequence[Comparison], heldout: Sequence[Comparison], *, seed: int = 0
) -> dict[str, Accuracy]:
    """Held-out accuracy of each baseline, ties counted half.

    Args:
        train: what the bag of words is fitted on; the others are not fitted.
        heldout: what all are measured on.
        seed: of the bootstrap intervals.
    """
    keys = [comparison.prompt_key for comparison in heldout for _ in comparison.pairs]
    longer = np.array(
        [
            float(len(c.responses[pair.chosen]) - len(c.responses[pair.rejected]))
            for c in heldout
            for pair in c.pairs
        ]
    )
    return {
        "longer_wins": accuracy_of(longer, keys, seed=seed),
        "shorter_wins": accuracy_of(-longer, keys, seed=seed),
        "bag_of_words": accuracy_of(_bag_of_words_gaps(train, heldout), keys, seed=seed),
    }


def _bag_of_words_gaps(
    train: Sequence[Comparison], heldout: Sequence[Comparison]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Signed preference for the chosen response of each held-out pair.

    A logistic regression without intercept on x_c − x_r is Bradley-Terry with a linear reward
    over log word counts; the prompt cancels out.
    """
    vectorizer = CountVectorizer(min_df=2, token_pattern=_WORD)
    texts = [text for comparison in train for text in comparison.responses]
    try:
        vectorizer.fit(texts)
    except ValueError:
        # No word occurs twice: nothing to learn from, every pair a tie.
        return np.zeros(sum(len(comparison.pairs) for comparison in heldout))
    differences = _differences(vectorizer, train)
    weights = np.array([1 / len(c.pairs) for c in train for _ in c.pairs])
    # Each pair from both sides, or the regression would see one class only.
    model = LogisticRegression(C=1.0, fit_intercept=False, max_iter=1000)
    model.fit(
        vstack([differences, -differences]),
        np.repeat([1, 0], differences.shape[0]),
        sample_weight=np.tile(weights, 2),
    )
    gaps: np.ndarray[tuple[int], np.dtype[np.float64]] = model.decision_function(
        _differences(vectorizer, heldout)
    )
    return gaps


def _differences(vectorizer: Any, comparisons: Sequence[Comparison]) -> Any:
    """Log word counts of chosen minus rejected, (pairs, words)."""
    counts = vectorizer.transform([text for c in comparisons for text in c.responses]).astype(
        np.float64
    )
    counts.data = np.log1p(counts.data)
    chosen: list[int] = []
    rejected: list[int] = []
    offset = 0
    for comparison in comparisons:
        chosen.extend(offset + pair.chosen for pair in comparison.pairs)
        rejected.extend(offset + pair.rejected for pair in comparison.pairs)
        offset += len(comparison.responses)
    return counts[chosen] - counts[rejected]
