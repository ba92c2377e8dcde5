"""Scores of numbers: errors, and how much of what varies is explained. Of several outputs the mean over them."""

from typing import ClassVar

import numpy as np

from src.metrics import METRICS
from src.metrics.metric import Metric, Rows, Statistic, undefined
from src.targets.regression import Regression


class _OfNumbers(Metric):
    """A score that sums over rows decide: `columns` gives them, `finish` the score of each output."""

    targets: ClassVar = (Regression,)

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        return self.once(truth, answers)

    def columns(self, truth: np.ndarray, answers: np.ndarray) -> list[np.ndarray]:
        """(n, outputs) each, float64."""
        raise NotImplementedError

    def finish(self, count: np.ndarray, *sums: np.ndarray) -> np.ndarray:
        """(draws, outputs) scores of sums of that shape; count: (draws, 1) rows."""
        raise NotImplementedError

    def statistic(self, truth: np.ndarray, answers: np.ndarray, outputs: int) -> Statistic:
        columns = self.columns(truth.astype(np.float64), answers.astype(np.float64))
        sums = np.concatenate([np.ones((len(truth), 1)), *columns], axis=1)

        def finish(drawn: np.ndarray) -> np.ndarray:
            with np.errstate(invalid="ignore", divide="ignore"):
                scores = self.finish(drawn[:, :1], *np.split(drawn[:, 1:], len(columns), axis=1))
            return np.where(np.isfinite(scores), scores, np.nan).mean(axis=1)

        return Statistic(sums, finish)


class _Error(_OfNumbers):
    higher_is_better = False


@METRICS.register("rmse")
class RootMeanSquaredError(_Error):
    """Of several outputs the mean of their errors, as MCRMSE is."""

    def columns(self, truth: np.ndarray, answers: np.ndarray) -> list[np.ndarray]:
        return [np.square(truth - answers)]

    def finish(self, count: np.ndarray, squares: np.ndarray) -> np.ndarray:
        return np.sqrt(squares / count)


@METRICS.register("mae")
class MeanAbsoluteError(_Error):
    def columns(self, truth: np.ndarray, answers: np.ndarray) -> list[np.ndarray]:
        return [np.abs(truth - answers)]

    def finish(self, count: np.ndarray, errors: np.ndarray) -> np.ndarray:
        return errors / count


@METRICS.register("rmsle")
class RootMeanSquaredLogError(RootMeanSquaredError):
    """Of log(1 + x). A prediction below 0 counts as 0; NaN where the truth is -1 or less."""

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        if (truth <= -1).any():
            return undefined("rmsle: the truth holds -1 or less")
        return super().value(truth, answers, rows)

    def columns(self, truth: np.ndarray, answers: np.ndarray) -> list[np.ndarray]:
        with np.errstate(invalid="ignore", divide="ignore"):
            return [np.square(np.log1p(truth) - np.log1p(answers.clip(0)))]


@METRICS.register("r2")
class RSquared(_OfNumbers):
    """The share of the variance that is explained. NaN where an output of the truth is constant."""

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        if (np.ptp(truth, axis=0) == 0).any():
            return undefined("r2: the truth is constant")
        return super().value(truth, answers, rows)

    def columns(self, truth: np.ndarray, answers: np.ndarray) -> list[np.ndarray]:
        centred = truth - truth.mean(axis=0)
        return [np.square(truth - answers), centred, np.square(centred)]

    def finish(self, count: np.ndarray, errors: np.ndarray, sums: np.ndarray, squares: np.ndarray) -> np.ndarray:
        return 1 - errors / (squares - np.square(sums) / count)


@METRICS.register("pearson")
class Pearson(_OfNumbers):
    """Pearson's correlation. NaN where an output of the truth, or of the answers, is constant."""

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        if (np.ptp(truth, axis=0) == 0).any() or (np.ptp(answers, axis=0) == 0).any():
            return undefined("pearson: the truth, or the answers, are constant")
        return super().value(truth, answers, rows)

    def columns(self, truth: np.ndarray, answers: np.ndarray) -> list[np.ndarray]:
        t, a = truth - truth.mean(axis=0), answers - answers.mean(axis=0)
        return [t, a, t * a, t * t, a * a]

    def finish(self, count: np.ndarray, *sums: np.ndarray) -> np.ndarray:
        t, a, both, t2, a2 = sums
        return (both - t * a / count) / np.sqrt((t2 - t * t / count) * (a2 - a * a / count))


@METRICS.register("spearman")
class Spearman(Metric):
    """Spearman's rank correlation. NaN where an output of the truth, or of the answers, is constant."""

    targets: ClassVar = (Regression,)

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        from scipy.stats import rankdata

        if (np.ptp(truth, axis=0) == 0).any() or (np.ptp(answers, axis=0) == 0).any():
            return undefined("spearman: the truth, or the answers, are constant")
        ranks = zip(rankdata(truth, axis=0).T, rankdata(answers, axis=0).T, strict=True)
        return float(np.mean([np.corrcoef(t, a)[0, 1] for t, a in ranks]))
