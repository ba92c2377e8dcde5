"""From a host's files to a competition that can be trained on: data, card, checked samples, and a look at them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from src.competition import pixels
from src.competition.archive import bring, ensure_data
from src.competition.card import Card, card_file, check_card, load_card
from src.competition.detect.draft import Draft, flow
from src.competition.detect.layout import Found, detect
from src.competition.overview import overview
from src.competition.samples import load_samples
from src.errors import UsageError
from src.runs import competition_folder, runs_folder, write_json, write_text, written_whole

Say = Callable[[str], None]


def prepare(source: Path | None, name: str, given: dict[str, Any], say: Say = print, slug: str | None = None) -> Card:
    """Make competition/NAME/ from an archive or a folder and look at it. A card that is there already is kept.

    `given`: facts by key, which go before detection. Without a source the competition's own files are looked at.
    Raises Problem where the files allow no card, or are wrong.
    """
    folder, existing = competition_folder(name), card_file(name)
    if existing and given:
        keys = ", ".join(given)
        raise UsageError(f"{existing} is there already: write {keys} into it, or delete it to have it worked out anew")
    if source is not None and source.resolve() not in (folder, folder / "data"):
        bring(source, folder, say)
    if existing:
        say(f"{existing} is there already, and is kept")
        card = load_card(name)
        ensure_data(card, say)
    else:
        card = _new_card(source, name, given, say, slug)
    samples = load_samples(card)
    write_json(runs_folder(name) / "overview.json", overview(card, samples, say))
    return card


def _new_card(source: Path, name: str, given: dict[str, Any], say: Say, slug: str | None) -> Card:
    """Detect, check the result on all rows, and only then write the card."""
    folder = competition_folder(name)
    found = detect(folder / "data", given, title=name)
    for key, value in (("kaggle", slug), ("archive", source.name if source.is_file() else None)):
        if value and key not in found.draft.facts:
            found.draft.put(key, value)
    card = check_card(name, found.draft.tree(), "the facts found or given")
    if found.test_labels is not None:
        with written_whole(folder / card.test_labels) as part:
            found.test_labels.to_csv(part, index=False)
    pixels.ensure_images(card, say)
    load_samples(card)
    write_text(folder / "card.yaml", found.draft.text(_heading(source)))
    _tell(found, folder / "card.yaml", say)
    return card


def _heading(source: Path) -> list[str]:
    return [
        f"Worked out from the files of {source.name} by python -m src.prepare: each line says how.",
        "Correct what is wrong; a guess is what the files do not tell. Paths are below data/.",
    ]


def _tell(found: Found, path: Path, say: Say) -> None:
    say(f"wrote {path}")
    for note in found.notes:
        say(f"note: {note}")
    for key, fact in _in_order(found.draft):
        say(
            f"guess: {key}={flow(fact.value)} ({fact.how}). "
            f"If it is wrong, edit the card, or delete it and add {key}=... here"
        )


def _in_order(draft: Draft) -> list:
    return list(draft.guesses.items())
