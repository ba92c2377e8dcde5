"""Whether the competition will take a notebook's version: asked before gigabytes are uploaded and a GPU runs."""

from datetime import UTC, datetime
from typing import Any

from src.core.console import note
from src.core.errors import Problem
from src.submission.kaggle import command
from src.submission.kaggle.errors import SITE, explained, none_left, rules_not_accepted, until_midnight


def look_ahead(slug: str) -> None:
    """Raises Problem where the rules are not accepted, the competition is closed, or there is none of this name. That
    none is left today is only said: the day may turn while the notebook runs."""
    with explained(slug):
        limits = command.limits(slug)
        facts = command.competition(slug)
    if facts and not facts["entered"]:
        raise rules_not_accepted(slug).error()
    if facts and _closed(facts, limits):
        raise Problem(
            f"{slug} takes no submissions: its deadline was {facts['deadline'] or 'before'}. Nothing was pushed.\n"
            f"See {SITE}/competitions/{slug}/overview for its dates, and whether late submissions are taken.",
            code="deadline-passed",
        )
    if limits.lifetime and not limits.left:
        raise none_left(limits).error()
    if limits.today and not limits.left:
        note(
            "no-submissions-left",
            f"warning: none of today's {limits.today} submissions is left. The notebook runs now; should it be ready "
            f"before 00:00 UTC, in {until_midnight()}, give the same command again after that",
        )


def _closed(facts: dict[str, Any], limits: command.Limits) -> bool:
    """A deadline that has passed alone does not tell: many competitions take late submissions."""
    try:
        when = datetime.fromisoformat(facts["deadline"])
    except ValueError:
        return bool(facts.get("submissionsDisabled"))
    over = when.replace(tzinfo=when.tzinfo or UTC) < datetime.now(UTC)
    return bool(facts.get("submissionsDisabled")) or (over and not limits.left)
