"""Two classes; the second is the positive one."""

from src.targets import TARGETS, Evidence, Recognised
from src.targets.label_cells import sort_classes
from src.targets.single_label import SingleLabel


@TARGETS.register("binary")
class Binary(SingleLabel):
    rank = 2
    positive_class = True

    @classmethod
    def recognise(cls, evidence: Evidence) -> Recognised | None:
        if len(evidence.names) != 2:
            return None
        return Recognised(f"two classes, {' and '.join(sort_classes(evidence.names))}")
