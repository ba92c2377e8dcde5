"""When detection stops: a table of what was tried, how far each rule reached, and the key that decides."""

from dataclasses import dataclass

from src.errors import Problem

SHOWN = 12


@dataclass(frozen=True)
class Try:
    """One rule: its wording, how many of how many it found, and an example of each side."""

    rule: str
    hits: int
    of: int
    found: str = ""
    missed: str = ""


class Undecided(Problem):
    """Detection cannot know; the text holds the table and how to decide."""

    def __init__(self, what: str, tries: list[Try], remedy: str) -> None:
        ranked = sorted(tries, key=lambda one: -one.hits)
        lines = [what]
        if ranked:
            lines += _table([("rule", "found", "such as", "not found"), *(_cells(one) for one in ranked[:SHOWN])])
        if len(ranked) > SHOWN:
            lines.append(f"  and {len(ranked) - SHOWN} more")
        super().__init__("\n".join([*lines, remedy]))
        self.tries = ranked


def _cells(one: Try) -> tuple[str, ...]:
    return one.rule, f"{one.hits} of {one.of}" if one.of else "", one.found, one.missed


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
