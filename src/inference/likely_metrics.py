"""While a card's metric is a guess: probabilities that suit the other likely metrics too, and the score by each.

One probability column may be scored by AUC or by log loss. AUC asks for an order of the rows, so that nothing is lost
where the probabilities are calibrated as well. Once the metric is confirmed, nothing here changes an answer.
"""

from dataclasses import dataclass, replace

import numpy as np

from src.competition.competition import Competition
from src.competition.guesses import open_guesses
from src.core.console import log
from src.evaluation.bootstrap import Answer
from src.evaluation.decision_choice import DecisionChoice, choose_decision
from src.evaluation.held_out import HeldOut
from src.metrics import Metric, metric
from src.metrics.rules import Temperature


@dataclass(frozen=True)
class LikelyMetrics:
    """metrics: the card's, then the others that such a submission may be scored by; none where the card's is no guess.

    calibrated: the nested out-of-fold probabilities after the calibration that was taken, if one was.
    """

    metrics: tuple[Metric, ...] = ()
    calibrated: np.ndarray | None = None

    def __bool__(self) -> bool:
        return bool(self.metrics)

    def calibrate(
        self, choice: DecisionChoice, held: HeldOut, probabilities: np.ndarray, shift: np.ndarray | None
    ) -> tuple["LikelyMetrics", DecisionChoice]:
        """Where the guessed metric only orders rows, take the calibration that another likely metric gains by, nested.
        It is applied to the mean over networks: every row is moved alike, and the order stays. As it costs the guessed
        metric nothing, the gain need not be beyond doubt."""
        judge = next((one for one in self.metrics if any(isinstance(r, Temperature) for r in one.rules(None))), None)
        if judge is None or not self.metrics[0].blends_ranks:
            return self, choice
        found = choose_decision(replace(held, metric=judge), probabilities, shift, sure=False)
        log.info("\n".join(found.comparison.lines))
        if found.comparison.taken == found.comparison.candidates[0].name:
            return self, choice
        decision = replace(found.decision, of_mean=True)
        return replace(self, calibrated=found.answer[0]), replace(choice, decision=decision)

    def scores(self, held: HeldOut, answer: Answer) -> dict[str, float]:
        """The out-of-fold score by each. answer: the one that the card's metric is told by."""
        return {one.name: one.score(held.targets, *self._shown(one, answer), held.rows) for one in self.metrics}

    def _shown(self, one: Metric, answer: Answer) -> Answer:
        """The nested fits differ from fold to fold, and would mix the order that the one of all folds keeps."""
        return answer if self.calibrated is None or one.blends_ranks else (self.calibrated, None)


def likely_metrics(competition: Competition) -> LikelyMetrics:
    """Those of the competition, none once its metric is known."""
    card, own = competition.card, competition.metric
    if card.submission is None or "metric" not in open_guesses(card):
        return LikelyMetrics()
    names = own.target.likely_metrics(card.submission_kind.registered, card.submission.top)
    others = (metric(name, own.target, card.folder) for name in names if name != card.metric)
    return LikelyMetrics((own, *others))


def format_scores(scores: dict[str, float]) -> str:
    """A line for each metric, the guessed one first."""
    lines = [
        f"{name:30s} {score:9.4f}{'' if at else '   the guess'}" for at, (name, score) in enumerate(scores.items())
    ]
    return "\n".join(["the metric is a guess; out of fold by each likely one", *lines])
