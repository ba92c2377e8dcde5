"""One of several classes."""

from src.targets import TARGETS
from src.targets.single_label import SingleLabel


@TARGETS.register("multiclass")
class Multiclass(SingleLabel):
    pass
