"""What is predicted. A kind of target is one class in one file; nothing outside asks which one it is.

A new one: a file with a class under `@TARGETS.register("name")`, here or in PODIUM_HOME/extensions. See TargetType.
"""

from functools import cache
from typing import Any

from src.core.registry import Registry, parsed
from src.targets.evidence import Evidence, Recognised
from src.targets.label_cells import Cells
from src.targets.target_type import ClassTarget, Labels, Strata, TargetType

__all__ = [
    "TARGETS",
    "Cells",
    "ClassTarget",
    "Evidence",
    "Labels",
    "Recognised",
    "Strata",
    "TargetType",
    "doubts",
    "recognised",
    "stored_target",
    "target_type",
]

TARGETS: Registry[type[TargetType]] = Registry("target", "src.targets", shapes_weights=True)


def target_type(spec: str | dict[str, Any]) -> TargetType:
    """What a card's `target` asks for. Raises UsageError where there is no such kind, or it has no such parameter."""
    name, parameters = parsed(spec, "target")
    kind = TARGETS.get(name)
    return kind(**parameters) if parameters else _plain(kind)


def stored_target(tree: dict[str, Any]) -> TargetType:
    """The type that a json file names; files that are older say only whether several classes may apply to a row."""
    return target_type(tree.get("target") or ("multilabel" if tree["several"] else "multiclass"))


def recognised(evidence: Evidence) -> tuple[TargetType, Recognised]:
    """The kind that a label is taken for. Every label is one of multiclass at least."""
    for kind in sorted((TARGETS.get(name) for name in TARGETS), key=lambda kind: -kind.rank):
        found = kind.recognise(evidence)
        if found is not None:
            return kind(**found.parameters) if found.parameters else _plain(kind), found
    raise AssertionError("multiclass takes every label")


def doubts(evidence: Evidence) -> str:
    """What speaks for kinds that a label was not taken for; empty where nothing does."""
    return "; ".join(filter(None, (TARGETS.get(name).doubt(evidence) for name in TARGETS)))


@cache
def _plain(kind: type[TargetType]) -> TargetType:
    return kind()
