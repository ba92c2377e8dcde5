"""When detection stops: a table of what was tried, how far each rule reached, and the key that decides."""

from collections.abc import Sequence
from dataclasses import dataclass

from src.core.errors import Problem

SHOWN = 12


@dataclass(frozen=True)
class Try:
    """One rule: its wording, how many of how many it found, and an example of each side."""

    rule: str
    hits: int = 0
    of: int = 0
    found: str = ""
    missed: str = ""


class Undecided(Problem):
    """Detection cannot know; the text holds the table and how to decide."""

    code = "undecided"

    def __init__(self, what: str, tries: list[Try], remedy: str, answers: Sequence[dict[str, str]] = ()) -> None:
        """answers: what a user may say, as facts by key, where they can be listed."""
        ranked = sorted(tries, key=lambda one: -one.hits)
        lines = [what]
        if ranked:
            lines += _table([("rule", "found", "such as", "not found"), *(_cells(one) for one in ranked[:SHOWN])])
        if len(ranked) > SHOWN:
            lines.append(f"  and {len(ranked) - SHOWN} more")
        super().__init__("\n".join([*lines, remedy] if remedy else lines))
        self.tries, self.answers = ranked, answers
        self.parts = [self]


def _cells(one: Try) -> tuple[str, ...]:
    return one.rule, f"{one.hits} of {one.of}" if one.of else "", one.found, one.missed


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    """Aligned columns, without those that no row fills."""
    columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    lines = zip(*columns, strict=True)
    return ["  " + "  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]


def together(questions: list[Undecided], notes: list[str]) -> Undecided:
    """All open questions in one, with lines on what was left aside."""
    questions = list({str(one): one for one in questions}.values())
    texts = [str(one) for one in questions]
    if len(texts) > 1:
        texts = [f"{len(texts)} things are open:", *(f"{k}. {text}" for k, text in enumerate(texts, 1))]
    whole = Undecided("\n".join([*texts, *(f"note: {note}" for note in notes)]), [], "")
    whole.tries = [one for question in questions for one in question.tries]
    whole.parts = questions
    return whole
