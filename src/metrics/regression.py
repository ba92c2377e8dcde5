"""Scores of numbers: errors, and how much of what varies is explained. Of several outputs the mean over them."""

from typing import ClassVar

import numpy as np

from src.core.errors import UsageError
from src.metrics import METRICS
from src.metrics.metric import Metric, Rows, Statistic, undefined
from src.targets.regression import Regression


class _OfNumbers(Metric):
    """A score that sums over rows decide: `columns` gives them, `finish` the score of each output."""

    targets: ClassVar = (Regression,)

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        why = self.undefined_for(truth)
        return undefined(why) if why else self.once(truth, answers)

    def columns(self, truth: np.ndarray, answers: np.ndarray) -> list[np.ndarray]:
        """(n, outputs) each, float64."""
        raise NotImplementedError

    def finish(self, count: np.ndarray, *sums: np.ndarray) -> np.ndarray:
        """(draws, outputs) scores of sums of that shape; count: (draws, 1) rows."""
        raise NotImplementedError

    def statistic(self, truth: np.ndarray, answers: np.ndarray, outputs: int) -> Statistic:
        columns = self.columns(truth.astype(np.float64), self.target.decide(answers.astype(np.float64)))
        sums = np.concatenate([np.ones((len(truth), 1)), *columns], axis=1)

        def finish(drawn: np.ndarray) -> np.ndarray:
            with np.errstate(invalid="ignore", divide="ignore"):
                scores = self.finish(drawn[:, :1], *np.split(drawn[:, 1:], len(columns), axis=1))
            return np.where(np.isfinite(scores), scores, np.nan).mean(axis=1)

        return Statistic(sums, finish)


def _constant(metric: Metric, truth: np.ndarray) -> str:
    same = (np.ptp(truth, axis=0) == 0).any()
    return f"{metric.registered}: the truth{' of an output' * (truth.shape[1] > 1)} is constant" if same else ""


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


@METRICS.register("mape")
class MeanAbsolutePercentageError(MeanAbsoluteError):
    """The mean of |truth - answer| / |truth|, as a share and not in percent; NaN where the truth holds 0."""

    def undefined_for(self, truth: np.ndarray) -> str:
        return "mape: the truth holds 0" if (truth == 0).any() else ""

    def columns(self, truth: np.ndarray, answers: np.ndarray) -> list[np.ndarray]:
        with np.errstate(invalid="ignore", divide="ignore"):
            return [np.abs(truth - answers) / np.abs(truth)]


@METRICS.register("pinball")
class Pinball(MeanAbsoluteError):
    """The loss of a quantile (Koenker and Bassett, 1978): what the truth lies above the answer weighs `quantile`, what
    it lies below 1 - quantile."""

    parameters: ClassVar = {"quantile": 0.5}

    def check(self) -> None:
        if not 0 < self.quantile < 1:
            raise UsageError(f"{self.name}: quantile must lie between 0 and 1", code="bad-parameter")

    def columns(self, truth: np.ndarray, answers: np.ndarray) -> list[np.ndarray]:
        above = truth - answers
        return [np.maximum(self.quantile * above, (self.quantile - 1) * above)]


@METRICS.register("rmsle")
class RootMeanSquaredLogError(RootMeanSquaredError):
    """Of log(1 + x). A prediction below 0 counts as 0; NaN where the truth is -1 or less."""

    def undefined_for(self, truth: np.ndarray) -> str:
        return "rmsle: the truth holds -1 or less" if (truth <= -1).any() else ""

    def columns(self, truth: np.ndarray, answers: np.ndarray) -> list[np.ndarray]:
        with np.errstate(invalid="ignore", divide="ignore"):
            return [np.square(np.log1p(truth) - np.log1p(answers.clip(0)))]


@METRICS.register("r2")
class RSquared(_OfNumbers):
    """The share of the variance that is explained, of several outputs the mean over them (mean column R2). NaN where an
    output of the truth is constant."""

    def undefined_for(self, truth: np.ndarray) -> str:
        return _constant(self, truth)

    def columns(self, truth: np.ndarray, answers: np.ndarray) -> list[np.ndarray]:
        centred = truth - truth.mean(axis=0)
        return [np.square(truth - answers), centred, np.square(centred)]

    def finish(self, count: np.ndarray, errors: np.ndarray, sums: np.ndarray, squares: np.ndarray) -> np.ndarray:
        return 1 - errors / (squares - np.square(sums) / count)


@METRICS.register("weighted_r2")
class WeightedRSquared(Metric):
    """One share of the variance over all outputs together, whose cells weigh as `weights` says for their output:
    1 - sum w (t - a)^2 / sum w (t - m)^2, where m is the weighted mean of all cells."""

    targets: ClassVar = (Regression,)
    parameters: ClassVar = {"weights": list}

    def check(self) -> None:
        weights = np.array(self.weights, np.float64)
        if not (weights >= 0).all() or not weights.any():
            raise UsageError(f"{self.name}: weights must be 0 or more, and not all 0", code="bad-parameter")

    def check_outputs(self, outputs: tuple[str, ...]) -> None:
        if len(self.weights) != len(outputs):
            raise UsageError(
                f"{self.name}: weights has {len(self.weights)} numbers, and there are {len(outputs)} outputs, in this "
                f"order: {', '.join(outputs)}",
                code="bad-parameter",
            )

    def undefined_for(self, truth: np.ndarray) -> str:
        return "weighted_r2: the truth is constant" if np.ptp(truth[:, np.array(self.weights) > 0]) == 0 else ""

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        why = self.undefined_for(truth)
        return undefined(why) if why else self.once(truth, answers)

    def statistic(self, truth: np.ndarray, answers: np.ndarray, outputs: int) -> Statistic:
        weights = np.array(self.weights, np.float64)
        truth, answers = truth.astype(np.float64), self.target.decide(answers.astype(np.float64))
        centred = truth - np.average(truth.mean(axis=0), weights=weights)
        sums = np.stack([np.square(truth - answers) @ weights, centred @ weights, np.square(centred) @ weights], axis=1)
        sums = np.concatenate([sums, np.full((len(truth), 1), weights.sum())], axis=1)

        def finish(drawn: np.ndarray) -> np.ndarray:
            errors, total, squares, mass = drawn.T
            with np.errstate(invalid="ignore", divide="ignore"):
                scores = 1 - errors / (squares - np.square(total) / mass)
            return np.where(np.isfinite(scores), scores, np.nan)

        return Statistic(sums, finish)


@METRICS.register("pearson")
class Pearson(_OfNumbers):
    """Pearson's correlation. NaN where an output of the truth, or of the answers, is constant."""

    def undefined_for(self, truth: np.ndarray) -> str:
        return _constant(self, truth)

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        if (np.ptp(answers, axis=0) == 0).any():
            return undefined("pearson: the answers are constant")
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

    def undefined_for(self, truth: np.ndarray) -> str:
        return _constant(self, truth)

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        from scipy.stats import rankdata

        answers = self.target.decide(answers)
        if why := self.undefined_for(truth):
            return undefined(why)
        if (np.ptp(answers, axis=0) == 0).any():
            return undefined("spearman: the answers are constant")
        ranks = zip(rankdata(truth, axis=0).T, rankdata(answers, axis=0).T, strict=True)
        return float(np.mean([np.corrcoef(t, a)[0, 1] for t, a in ranks]))
