"""Logistic regression on few columns, with targets that may lie between the classes."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from training.statistics.intervals import Floats, Ints


class LogisticFit(NamedTuple):
    """Coefficients β of P = σ(xβ).

    Attributes:
        coefficients: (columns,).
        standard_errors: the larger of the model's and the cluster-robust one, (columns,).
    """

    coefficients: Floats
    standard_errors: Floats


def fit_logistic(columns: Floats, target: Floats, cluster: Ints) -> LogisticFit | None:
    """Minimise Σ ln(1 + e^z) − t·z, z = xβ, which is convex in β.

    Args:
        columns: x, (n, columns); an intercept is a column of ones.
        target: t, (n,), strictly between 0 and 1, so that the minimum is finite for any data.
        cluster: rows of one number are not independent, (n,).

    Returns:
        None where the columns don't determine β: fewer rows than columns, or a column that says
        nothing beyond the others.
    Source: sandwich estimate by clusters, Liang and Zeger, Biometrika 73 (1986), 13–22.
    """
    scale = np.sqrt(np.mean(columns**2, axis=0)) if len(columns) else np.zeros(columns.shape[1])
    if not (scale > 0).all():
        return None
    x = columns / scale  # so that the solver's tolerances mean the same for any unit of reward
    if np.linalg.matrix_rank(x) < x.shape[1]:
        return None

    def negative_log_likelihood(beta: Floats) -> float:
        z = x @ beta
        return float(np.mean(np.logaddexp(0.0, z) - target * z))

    def gradient(beta: Floats) -> Floats:
        return np.asarray(x.T @ (expit(x @ beta) - target) / len(x))

    def hessian(beta: Floats) -> Floats:
        p = expit(x @ beta)
        return np.asarray((x.T * (p * (1 - p))) @ x / len(x))

    solution = minimize(
        negative_log_likelihood,
        np.zeros(x.shape[1]),
        jac=gradient,
        hess=hessian,
        method="trust-exact",
        options={"gtol": 1e-10, "maxiter": 500},
    )
    beta = np.asarray(solution.x, dtype=np.float64)
    bread = np.linalg.pinv(hessian(beta) * len(x))
    each = (expit(x @ beta) - target)[:, None] * x  # (n, columns): gradient of each row
    _, number = np.unique(cluster, return_inverse=True)
    by_cluster = np.zeros((number.max() + 1, x.shape[1]))
    np.add.at(by_cluster, number, each)
    robust = bread @ (by_cluster.T @ by_cluster) @ bread
    variance = np.maximum(np.diag(bread), np.diag(robust))
    return LogisticFit(beta / scale, np.sqrt(variance) / scale)
