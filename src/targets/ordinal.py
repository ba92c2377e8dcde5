"""Grades: classes in an order, in which neighbours are nearly right."""

from src.targets import TARGETS, Evidence, Recognised
from src.targets.label_cells import sort_classes
from src.targets.single_label import SingleLabel

GRADED = {"level", "grade", "severity", "stage", "diagnosis", "rating", "score", "isup"}


@TARGETS.register("ordinal")
class Ordinal(SingleLabel):
    rank = 1
    ordered = True
    usual_probes = ("grades", "logistic")
    doubts_labels = False  # a grade's neighbour is too often as good an answer

    @classmethod
    def recognise(cls, evidence: Evidence) -> Recognised | None:
        names = evidence.names
        if not {*evidence.words} & GRADED or sort_classes(names) != [str(k) for k in range(len(names))]:
            return None
        return Recognised(f"{evidence.label} counts from 0 to {len(names) - 1} and sounds like a grade", guess=True)

    def likely_metrics(self, submission: str, top: int) -> tuple[str, ...]:
        """Columns ask for a probability of each grade, not for the one grade that a kappa compares."""
        if submission in ("ranked", "columns"):
            return super().likely_metrics(submission, top)
        return "qwk", "accuracy"
