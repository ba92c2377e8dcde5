"""Grades: classes in an order, in which neighbours are nearly right."""

from src.targets import TARGETS
from src.targets.single_label import SingleLabel


@TARGETS.register("ordinal")
class Ordinal(SingleLabel):
    usual_metric = "qwk"
    ordered = True
    doubts_labels = False  # a grade's neighbour is too often as good an answer
