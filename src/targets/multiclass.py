"""One of several classes."""

from collections.abc import Iterable
from typing import Any, ClassVar

from src.core.errors import UsageError
from src.core.suggestions import nearest
from src.targets import TARGETS, Evidence, Recognised
from src.targets.single_label import SingleLabel
from src.targets.target_type import Labels


@TARGETS.register("multiclass")
class Multiclass(SingleLabel):
    """none_of_them: the class of images that show none of the others, such as new_whale. It comes last, and how
    easily it is answered is fitted out of fold, see `NoneOfThem`."""

    parameters: ClassVar = {"none_of_them": ""}
    rank = -1  # after all others

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.last_is_none = bool(self.none_of_them)

    @classmethod
    def recognise(cls, evidence: Evidence) -> Recognised:
        return Recognised(f"{len(evidence.names)} classes")

    def outputs(
        self,
        given: list[str] | dict[str, str] | None,
        columns: tuple[str, ...],
        listed: bool,
        parts: Iterable[Labels],
    ) -> tuple[str, ...]:
        names = super().outputs(given, columns, listed, parts)
        if not self.none_of_them:
            return names
        if self.none_of_them not in names:
            raise UsageError(
                f"target {self.name}: no class is called {self.none_of_them}.{nearest(self.none_of_them, list(names))}",
                code="unknown-class",
            )
        return *(name for name in names if name != self.none_of_them), self.none_of_them
