"""Is the test set like the training set? Adversarial validation on a trained network's features of both."""

from dataclasses import dataclass

import numpy as np

from src.core.errors import Problem
from src.evaluation.bootstrap import bootstrap_interval, units
from src.metrics import metric

FOLDS = 5
FEWEST, MOST = 40, 3000  # rows of either side: with fewer nothing can be told, more would narrow a narrow interval
COMPONENTS = 32
ALARM = 0.55
SHOWN = 10


@dataclass(frozen=True)
class Shift:
    """auc: how well test rows can be told from training rows, 0.5 not at all, with its 95 % interval.

    unlike: positions of test rows, the most unlike the training set first. suspicion: of each of them, between 0 and 1,
    how surely it is taken for a test row by a classifier that never saw it.
    """

    auc: float
    interval: tuple[float, float]
    unlike: np.ndarray
    suspicion: np.ndarray

    @property
    def flagged(self) -> bool:
        """Whether the interval lies above ALARM; see `compare_sets` for why it is where it is."""
        return self.interval[0] > ALARM

    def lines(self, ids: np.ndarray) -> tuple[str, ...]:
        """What to print; ids: (test rows,) text."""
        measured = f"AUC {self.auc:.3f}, 95 % interval {self.interval[0]:.3f} to {self.interval[1]:.3f}"
        most = ", ".join(str(ids[row]) for row in self.unlike[:SHOWN])
        if not self.flagged:
            return (
                f"test images look to the network like training images: {measured}, and the alarm begins where its "
                f"lower end is above {ALARM}",
                f"the most unlike all the same: {most}",
            )
        return (
            f"test images look to the network unlike training images: {measured}, above {ALARM}",
            f"the most unlike: {most}",
            "out-of-fold scores may not carry over. Look at these images for what differs (camera, size, crop, class "
            "shares, patients or sites); then hold that out in the folds (a group column) or bring the two together "
            "(images.prepare, augment), and trust small gains less than their intervals say",
        )


def drawn(rows: np.ndarray, seed: int = 0) -> np.ndarray:
    """As many of these rows as are compared: all, or 3000 drawn at random, in their order."""
    return np.sort(np.random.default_rng(seed).permutation(rows)[:MOST])


def compare_sets(
    train: np.ndarray,
    test: np.ndarray,
    train_groups: np.ndarray | None = None,
    test_groups: np.ndarray | None = None,
    seed: int = 0,
) -> Shift:
    """Tell test rows, (m, d) features, from training rows, (n, d), by a cross-validated linear classifier.

    Both must come from one network, and the training rows be those that it did NOT learn from (its held-out fold): it
    knows the others by heart, and they look unlike anything new. groups: (n,) and (m,) text or int; rows of one group
    stay together, else a patient's second image gives away the set of the first: where the test rows' groups are not
    known, few and large ones look like a shift. Raises Problem for fewer than 40 rows on a side.

    Why the alarm is at 0.55, from simulated features (10 clusters, 64 to 512 dimensions): of two sets of one
    distribution the lower end was above 0.5 in 5 to 15 % of 1,140 draws, for cross-validation makes the AUC vary more
    than resampled rows tell; above 0.55 in 2 % with 40 to 60 rows, 0.8 % with 200 and none of 40 with 1,500. A shift of
    all test rows in a random direction was flagged in every draw of 400 rows from an AUC of 0.64 on, and cost a linear
    classifier 0.2 points of accuracy there, 1 point at 0.86, 2.4 at 0.96: an alarm says look, not despair.
    """
    _check(train, test)
    generator = np.random.default_rng(seed)
    rows = [generator.permutation(len(side))[:MOST] for side in (train, test)]
    features = np.concatenate([train[rows[0]], test[rows[1]]]).astype(np.float64)
    is_test = np.repeat([0, 1], [len(part) for part in rows])
    groups = _groups(rows, (train_groups, test_groups))
    suspicion = _suspicion(features, is_test, groups, seed)
    both = np.stack([1 - suspicion, suspicion], axis=1)
    auc = metric("auc", "binary")
    order = np.argsort(-suspicion[is_test == 1], kind="stable")
    return Shift(
        auc.score(is_test, both),
        bootstrap_interval(auc, is_test, both, groups),
        rows[1][order],
        suspicion[is_test == 1][order],
    )


def _suspicion(features: np.ndarray, is_test: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """(rows,) the probability that a row is of the test set, from what was fitted on other rows and groups."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(groups)) == len(groups):
        splits = StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(features, is_test)
    else:
        splits = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(features, is_test, groups)
    found = np.zeros(len(features))
    for others, rows in splits:
        if len(np.unique(is_test[others])) < 2:
            raise Problem("the test or the training rows are of too few groups to be compared", code="too-few-groups")
        # Few directions and a strong penalty: with hundreds of features and few rows anything can be told apart.
        model = make_pipeline(
            PCA(min(COMPONENTS, *features[others].shape), random_state=seed),
            StandardScaler(),
            LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000),
        )
        found[rows] = model.fit(features[others], is_test[others]).predict_proba(features[rows])[:, 1]
    return found


def _groups(rows: list[np.ndarray], given: tuple[np.ndarray | None, np.ndarray | None]) -> np.ndarray:
    """(rows of both,) a number for what each row is kept together with; a group of one side is none of the other's."""
    sides = [np.arange(len(part)) if g is None else units(g)[part] for part, g in zip(rows, given, strict=True)]
    return np.concatenate([sides[0], sides[1] + sides[0].max() + 1])


def _check(train: np.ndarray, test: np.ndarray) -> None:
    if train.ndim != 2 or test.ndim != 2 or train.shape[1] != test.shape[1]:
        raise Problem(
            f"features of shapes {train.shape} and {test.shape} do not come from one network", code="shapes-differ"
        )
    if min(len(train), len(test)) < FEWEST:
        raise Problem(
            f"{len(train)} training and {len(test)} test rows are too few to be compared: {FEWEST} of each",
            code="too-few-rows",
        )
    if not (np.isfinite(train).all() and np.isfinite(test).all()):
        raise Problem(
            "the features of the network hold values that are not finite: nothing can be compared with them",
            code="features-not-finite",
        )
