"""What a row of a submission holds: `submission: {kind: label}`; with parameters, `kind: {name: ..., top: 3}`.

A new one: a file with a class under `@SUBMISSION_KINDS.register("name")`, here or in PODIUM_HOME/extensions. See
SubmissionKind.
"""

from typing import Any

from src.competition.submission_kinds.submission_kind import Classes, SubmissionKind
from src.core.registry import Registry, parsed

__all__ = ["SUBMISSION_KINDS", "Classes", "SubmissionKind", "kind_class", "submission_kind"]

SUBMISSION_KINDS: Registry[type[SubmissionKind]] = Registry("submission kind", "src.competition.submission_kinds")


def kind_class(spec: str | dict[str, Any]) -> type[SubmissionKind]:
    """Raises UsageError, with the nearest name, where there is no such kind."""
    return SUBMISSION_KINDS.get(parsed(spec, "submission.kind")[0])


def submission_kind(section: Any) -> SubmissionKind:
    """The kind that the section `submission` of a card asks for. Parameters that are keys of the section come from
    there, unless `kind` sets them. Raises UsageError."""
    kind = kind_class(section.kind)
    shared = {key: getattr(section, key) for key in kind.parameters if hasattr(section, key)}
    return kind(**shared | parsed(section.kind, "submission.kind")[1])
