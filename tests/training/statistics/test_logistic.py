"""The fit against scikit-learn's, its standard errors against repeated draws."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from training.statistics.logistic import fit_logistic


def data(seed: int, n: int = 500) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    x = generator.normal(0.3, 2.0, size=n)
    y = generator.random(n) < expit(0.8 * x - 0.4)
    return np.column_stack([x, np.ones(n)]), y


def test_it_agrees_with_scikit_learns_unpenalised_regression() -> None:
    columns, y = data(0)
    target = np.where(y, 0.98, 0.03)

    fit = fit_logistic(columns, target, np.arange(len(y)))

    # scikit-learn knows no soft targets: each row stands for both classes, weighted
    theirs = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=1000).fit(
        np.vstack([columns, columns]),
        np.repeat([1, 0], len(y)),
        sample_weight=np.concatenate([target, 1 - target]),
    )
    np.testing.assert_allclose(fit.coefficients, theirs.coef_[0], rtol=1e-5)


def test_standard_errors_are_the_spread_over_repeated_draws() -> None:
    fits = []
    for seed in range(300):
        columns, y = data(seed)
        fit = fit_logistic(columns, np.where(y, 1 - 1e-9, 1e-9), np.arange(len(y)))
        fits.append(fit)
    found = np.array([fit.coefficients for fit in fits])
    told = np.array([fit.standard_errors for fit in fits])

    # a standard deviation from 300 draws is itself known to within 4 %; three of those
    np.testing.assert_allclose(told.mean(axis=0), found.std(axis=0, ddof=1), rtol=0.12)
    np.testing.assert_allclose(found.mean(axis=0), [0.8, -0.4], atol=3 * told.mean() / 300**0.5)


def test_answers_of_one_prompt_count_as_one_when_they_are_copies() -> None:
    columns, y = data(1, n=200)
    target = np.where(y, 0.99, 0.01)
    once = fit_logistic(columns, target, np.arange(200))
    copied = fit_logistic(
        np.repeat(columns, 5, axis=0), np.repeat(target, 5), np.repeat(np.arange(200), 5)
    )

    np.testing.assert_allclose(copied.coefficients, once.coefficients, rtol=1e-6)
    # `once` takes the larger of two estimates, so the copies may only be a little below
    assert (copied.standard_errors > 0.85 * once.standard_errors).all()


def test_the_unit_of_a_column_changes_its_coefficient_and_nothing_else() -> None:
    columns, y = data(2)
    target = np.where(y, 0.99, 0.01)
    one = fit_logistic(columns, target, np.arange(len(y)))
    other = fit_logistic(columns * [1e6, 1.0], target, np.arange(len(y)))

    np.testing.assert_allclose(other.coefficients * [1e6, 1.0], one.coefficients, rtol=1e-6)
    np.testing.assert_allclose(other.standard_errors * [1e6, 1.0], one.standard_errors, rtol=1e-6)


@pytest.mark.parametrize(
    "columns",
    [np.zeros((5, 1)), np.ones((5, 2)), np.zeros((0, 1)), np.ones((1, 2))],
    ids=["constant", "copied column", "no rows", "fewer rows than columns"],
)
def test_columns_that_determine_nothing_give_no_fit(columns: np.ndarray) -> None:
    assert fit_logistic(columns, np.full(len(columns), 0.9), np.arange(len(columns))) is None
