"""A card in the making: each fact with its evidence, and what the user said on the command line before all."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import yaml

from src.competition.card import Card
from src.core.errors import UsageError

PARTS = ("signals", "against", "rivals")  # of evidence, in words
_PLAIN = re.compile(r"\w[\w .-]*")
Certainty = Literal["given", "sure", "guess", "question"]


@dataclass(frozen=True)
class Evidence:
    """What speaks for a reading and against it, counted.

    explained of total: the rows, files or ids that the reading explains. rivals: other readings, as KEY=VALUE where
    a user can type it.
    """

    explained: int = 0
    total: int = 0
    unit: str = "rows"
    signals: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()

    @property
    def share(self) -> float | None:
        """The share that is explained, None where nothing was counted."""
        return self.explained / self.total if self.total else None

    @property
    def text(self) -> str:
        """All but the rivals, on one line; empty where nothing was counted."""
        counted = [f"explains {self.explained} of {self.total} {self.unit}"] if self.total else []
        against = [f"against it: {', '.join(self.against)}"] if self.against else []
        return "; ".join([*counted, *self.signals, *against])


NOTHING = Evidence()


@dataclass(frozen=True)
class Fact:
    """One value of the card. `how` says in words how it was found; `certainty`: a question stops the command."""

    value: Any
    how: str
    certainty: Certainty = "sure"
    evidence: Evidence = field(default=NOTHING)

    @property
    def guess(self) -> bool:
        return self.certainty == "guess"

    @property
    def told(self) -> str:
        """How it was found, with the evidence, on one line."""
        rivals = f"or {', '.join(self.evidence.rivals)}" if self.evidence.rivals else ""
        return " ".join("; ".join(filter(None, (self.how, self.evidence.text, rivals))).split())


class Draft:
    """Facts by key, where train.label is `label` inside `train`. What was given stays, whatever is found."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.given = given
        self.facts: dict[str, Fact] = {}

    def put(self, key: str, value: Any, how: str = "", guess: bool = False, evidence: Evidence = NOTHING) -> None:
        certainty: Certainty = "guess" if guess else "sure"
        if key in self.given:
            value, how, certainty, evidence = self.given[key], "given on the command line", "given", NOTHING
        self.facts[key] = Fact(value, how, certainty, evidence)

    def support(self, key: str, evidence: Evidence) -> None:
        """Evidence for a fact that is there; what was counted before goes before."""
        fact, mine = self.facts[key], self.facts[key].evidence
        whole = evidence if not mine.total else mine
        merged = {part: tuple(dict.fromkeys((*getattr(mine, part), *getattr(evidence, part)))) for part in PARTS}
        self.facts[key] = replace(fact, evidence=replace(whole, **merged))

    def get(self, key: str) -> Any:
        """The fact's value, what was given, or None."""
        return self.facts[key].value if key in self.facts else self.given.get(key)

    def finish(self) -> None:
        """Take over what was given and nothing found."""
        for key in self.given:
            if key not in self.facts:
                self.put(key, None)

    @property
    def guesses(self) -> dict[str, Fact]:
        return {key: fact for key, fact in self.facts.items() if fact.guess}

    def tree(self) -> dict[str, Any]:
        """The card as a plain tree. Raises UsageError where a given key has no place in it."""
        tree: dict[str, Any] = {}
        order = {name: place for place, name in enumerate(Card.model_fields)}
        for key, fact in sorted(self.facts.items(), key=lambda item: order.get(item[0].split(".")[0], len(order))):
            *above, last = key.split(".")
            place = tree
            for part in above:
                place = place.setdefault(part, {})
                if not isinstance(place, dict):
                    raise UsageError(f"{key}: {part} holds a value and cannot have keys below it", code="bad-value")
            place[last] = fact.value
        return tree

    def text(self, heading: Iterable[str]) -> str:
        """The card as YAML, every fact followed by how it was found."""
        lines = [f"# {line}" for line in heading]
        self._write(lines, self.tree(), "", "")
        return "\n".join(lines) + "\n"

    def _write(self, lines: list[str], tree: dict[str, Any], indent: str, above: str) -> None:
        for name, value in tree.items():
            key = f"{above}{name}"
            if key not in self.facts:
                lines.append(f"{indent}{name}:")
                self._write(lines, value, f"{indent}  ", f"{key}.")
                continue
            fact = self.facts[key]
            comment = f"guess: {fact.told}" if fact.guess else fact.told
            lines.append(f"{indent}{name}: {flow(value)}" + (f"  # {comment}" if comment else ""))


def flow(value: Any) -> str:
    """A value on one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=1 << 30, sort_keys=False)
    return text.removesuffix("...\n").strip()


def typed(mapping: dict[str, str]) -> str:
    """A mapping as it can be typed between single quotes on a command line."""

    def word(text: str) -> str:
        return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)

    return "{" + ", ".join(f"{word(a)}: {word(b)}" for a, b in mapping.items()) + "}"
