"""How a long tail is served: scores that accuracy alone hides where some classes are many times rarer than others."""

import numpy as np

from src.metrics import metric
from src.targets import TargetType

UNEVEN = 3  # the largest class is so many times the smallest, at least, before these scores are told
RAREST = 1 / 3  # of the classes


def rarity_scores(truth: np.ndarray, answers: np.ndarray, trained: np.ndarray, target: TargetType) -> dict[str, float]:
    """Scores of held-out rows by name; none where classes are about even, or several apply to a row.

    truth: (n,) int. answers: (n, classes) probabilities. trained: (classes,) training rows of each class.
    as_trained: accuracy if the rows came in the shares of training. rarest: mean recall of the rarest third of classes.
    """
    there = trained[trained > 0]
    if not target.one_class or not len(there) or there.max() < UNEVEN * there.min():
        return {}
    scores = {name: metric(name, target).score(truth, answers) for name in ("balanced_accuracy", "macro_f1")}
    labels = target.decide(answers)
    shown = np.bincount(truth, minlength=len(trained))
    recall = np.bincount(truth[labels == truth], minlength=len(trained)) / np.maximum(shown, 1)
    order = np.argsort(trained, kind="stable")
    rare = order[: max(1, round(RAREST * len(trained)))]
    rare = rare[shown[rare] > 0]
    scores["rarest"] = float(recall[rare].mean()) if len(rare) else np.nan
    weights = trained * (shown > 0)
    scores["as_trained"] = float(np.average(recall, weights=weights))
    return scores
