"""The guesses in a card: facts that the files do not tell. They stay marked until someone confirms or changes them."""

import re
from collections.abc import Collection, Iterator
from dataclasses import asdict, replace
from typing import Any

from src.competition.card import Card, card_file
from src.competition.detect.draft import NOTHING, Evidence, Fact, flow
from src.core.errors import UsageError
from src.core.files import read_json, read_settings, read_text, write_json, write_text
from src.core.paths import runs_folder

GUESS, CONFIRMED = "guess: ", "confirmed: "  # how the comment of such a fact begins
READING = "reading.json"  # below runs/NAME/: the facts as they were found, so that an edited value is known for one
ALL = "all"
_LINE = re.compile(r"(?P<indent> *)(?P<key>[^\s#:][^:]*):(?P<value>(?: .*?)?)(?:  +# ?(?P<comment>.*))?")


def comments(text: str) -> dict[str, str]:
    """What a card says behind each fact, by key: where train.label is `label` inside `train`."""
    return {key: match["comment"] for key, match in _facts(text) if match["comment"]}


def note_reading(competition: str, facts: dict[str, Fact]) -> None:
    """Keep the facts with their evidence beside the runs."""
    write_json(runs_folder(competition) / READING, {key: asdict(fact) for key, fact in facts.items()})


def _noted(competition: str) -> dict[str, Fact]:
    note = runs_folder(competition) / READING
    if not note.is_file():
        return {}
    found = {}
    for key, fact in read_json(note).items():
        explained = {
            name: tuple(held) if isinstance(held, list) else held for name, held in fact.pop("evidence").items()
        }
        found[key] = Fact(**fact, evidence=Evidence(**explained))
    return found


def open_guesses(card: Card) -> dict[str, str]:
    """The guesses that nobody has confirmed, with how they came about: marked, and of the value that was guessed."""
    return {key: fact.told for key, fact in read_facts(card).items() if fact.guess}


def read_facts(card: Card) -> dict[str, Fact]:
    """The facts of a card that is there, with the evidence for those that stand as they were found."""
    path = card_file(card.id)
    if path is None:
        return {}
    explained, noted = comments(read_text(path)), _noted(card.id)
    return {key: _fact(value, explained.get(key, ""), noted.get(key)) for key, value in _flat(read_settings(path), "")}


def _fact(value: Any, comment: str, noted: Fact | None) -> Fact:
    """A fact as the card has it now."""
    if noted is not None and noted.value != value:
        return Fact(value, "written in the card", "given")
    if comment.startswith(GUESS):
        return replace(noted or Fact(value, comment.removeprefix(GUESS)), certainty="guess")
    if noted is not None and not noted.guess:
        return noted
    if noted is not None and comment.startswith(CONFIRMED):
        return replace(noted, how=f"{CONFIRMED}{noted.how}", certainty="given")
    return Fact(value, comment, "given", noted.evidence if noted else NOTHING)


def format_guesses(card: Card) -> list[str]:
    """A line for each open guess, and one that says how to settle them; nothing where there is none."""
    path, found = card_file(card.id), {key: fact for key, fact in read_facts(card).items() if fact.guess}
    if not found:
        return []
    lines = [f"guess: {key}={flow(fact.value)} ({fact.told})" for key, fact in found.items()]
    return [
        *lines,
        f"Where a guess is wrong, edit {path}, or delete it and add KEY=VALUE to this command. "
        f"Where they are right: python -m src.prepare {card.id} confirm={','.join(found) if len(found) == 1 else ALL}",
    ]


def confirm(card: Card, wanted: str | Collection[str]) -> list[str]:
    """Mark guesses of the card as confirmed: the keys, or `all` of them. Raises UsageError for what is no guess."""
    path, found = card_file(card.id), open_guesses(card)
    keys = list(found) if wanted == ALL else list(wanted)
    check_confirmed(keys, found)
    lines = read_text(path).split("\n")
    for number, (key, match) in _numbered_facts(lines).items():
        if key in keys:
            at = match.start("comment")
            lines[number] = lines[number][:at] + CONFIRMED + match["comment"].removeprefix(GUESS)
    write_text(path, "\n".join(lines))
    return keys


def check_confirmed(keys: Collection[str], guesses: Collection[str]) -> None:
    """Raises UsageError where one of the keys is no open guess."""
    wrong = next((key for key in keys if key not in guesses), None)
    if wrong is not None:
        there = f"The guesses are {', '.join(guesses)}" if guesses else "There is no guess"
        raise UsageError(f"confirm={wrong}: {wrong} is no open guess. {there}", code="no-such-guess")


def _facts(text: str) -> list[tuple[str, re.Match[str]]]:
    return list(_numbered_facts(text.split("\n")).values())


def _numbered_facts(lines: list[str]) -> dict[int, tuple[str, re.Match[str]]]:
    """The lines that hold a key, by their place: the key with those above it, and the line's parts."""
    found: dict[int, tuple[str, re.Match[str]]] = {}
    above: list[tuple[int, str]] = []  # the keys that hold the present line, with their indents
    for number, line in enumerate(lines):
        match = _LINE.fullmatch(line)
        if match is None:
            continue
        indent = len(match["indent"])
        above = [held for held in above if held[0] < indent]
        found[number] = ".".join([*(name for _, name in above), match["key"].strip()]), match
        above.append((indent, match["key"].strip()))
    return found


def _flat(tree: dict[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict) and f"{above}{key}" != "classes":
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
