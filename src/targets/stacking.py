"""Linear stacks of runs: for each class a logistic regression, "is it this one?", on the runs' log-odds of it, and for
each number a ridge regression on the runs' predictions."""

import numpy as np

PENALTY = 0.01  # of the ridge, in parts of what the runs' predictions differ by
LEAST = 1e-9  # of it, in parts of what predictions vary by, for runs that are alike
SURE = 1e-6  # probabilities are held this far from 0 and 1 before their odds are taken


def fit(truth: np.ndarray, tables: list[np.ndarray]) -> np.ndarray:
    """(classes, runs + 1): each class's factors of the runs' log-odds, and its constant; regularised (L2).

    truth: (n, classes) bool. tables: (n, classes) probabilities of each run.
    A class that every row or none has teaches nothing: it gets the mean of the log-odds.
    """
    from sklearn.linear_model import LogisticRegression

    odds = np.stack([log_odds(table) for table in tables], axis=2)
    classes, runs = odds.shape[1:]
    found = np.repeat([[1 / runs] * runs + [0.0]], classes, axis=0)
    for c in np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0)):
        model = LogisticRegression(C=1.0).fit(odds[:, c], truth[:, c])
        found[c] = [*model.coef_[0], model.intercept_[0]]
    return found


def apply(weights: np.ndarray, tables: list[np.ndarray]) -> np.ndarray:
    """(n, classes) probabilities, each class by itself."""
    from scipy.special import expit

    odds = sum(factor * log_odds(table) for factor, table in zip(weights.T[:-1], tables, strict=True))
    return expit(odds + weights[:, -1])


def log_odds(table: np.ndarray) -> np.ndarray:
    sure = table.clip(SURE, 1 - SURE)
    return np.log(sure / (1 - sure))


def fit_ridge(truth: np.ndarray, tables: list[np.ndarray]) -> np.ndarray:
    """(outputs, runs + 1): each output's factors of the runs' predictions, and its constant; regularised (L2).

    truth: (n, outputs) numbers. tables: (n, outputs) predictions of each run. Runs are much alike, so that plain least
    squares would set one against another: the factors are drawn towards the mean of the runs.
    """
    stack = np.stack(tables, axis=2).astype(np.float64)
    outputs, runs = stack.shape[1:]
    found = np.empty((outputs, runs + 1))
    for k in range(outputs):
        x, mean = stack[:, k], stack[:, k].mean(axis=0)
        centred = x - mean
        left = truth[:, k] - truth[:, k].mean() - centred.mean(axis=1)
        apart = centred - centred.mean(axis=1, keepdims=True)
        penalty = max(PENALTY * np.square(apart).sum(), LEAST * np.square(centred).sum(), 1e-300) / runs
        factors = 1 / runs + np.linalg.solve(centred.T @ centred + penalty * np.eye(runs), centred.T @ left)
        found[k] = [*factors, truth[:, k].mean() - mean @ factors]
    return found


def apply_ridge(weights: np.ndarray, tables: list[np.ndarray]) -> np.ndarray:
    """(n, outputs) predictions, each output by itself."""
    return sum(factor * table for factor, table in zip(weights.T[:-1], tables, strict=True)) + weights[:, -1]
