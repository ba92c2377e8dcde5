"""One of several classes."""

from src.targets import TARGETS, Evidence, Recognised
from src.targets.single_label import SingleLabel


@TARGETS.register("multiclass")
class Multiclass(SingleLabel):
    rank = -1  # after all others

    @classmethod
    def recognise(cls, evidence: Evidence) -> Recognised:
        return Recognised(f"{len(evidence.names)} classes")
