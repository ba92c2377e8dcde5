"""Two classes; the second is the positive one."""

from src.targets import TARGETS
from src.targets.single_label import SingleLabel


@TARGETS.register("binary")
class Binary(SingleLabel):
    usual_metric = "auc"
    positive_class = True
