"""From a host's files to a competition that can be trained on: data, card, checked samples, and a look at them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from src.competition.card import Card, card_file, check_card, load_card
from src.competition.detect.draft import flow
from src.competition.detect.layout import Found, detect
from src.competition.labels import test_answers
from src.competition.quality.overview import overview
from src.competition.samples import Samples, load_samples
from src.competition.sources import pixel_columns
from src.competition.sources.data_folder import bring, ensure_data
from src.core.errors import UsageError
from src.core.files import write_json, write_text, written_whole
from src.core.paths import competition_folder, runs_folder
from src.metrics import metric

Say = Callable[[str], None]
Fits = Callable[[Card, Samples], None]


def prepare(
    source: Path | None,
    name: str,
    given: dict[str, Any],
    say: Say = print,
    slug: str | None = None,
    fits: Fits | None = None,
) -> Card:
    """Make competition/NAME/ from an archive or a folder and look at it. A card that is there already is kept.

    `given`: facts by key, which go before detection. Without a source the competition's own files are looked at.
    `fits` is asked before a card is written, and raises where the card and its samples cannot be worked with.
    Raises Problem where the files allow no card, or are wrong.
    """
    folder, existing = competition_folder(name), card_file(name)
    if existing and given:
        keys = ", ".join(given)
        raise UsageError(f"{existing} is there already: write {keys} into it, or delete it to have it worked out anew")
    if source is not None and source.resolve() not in (folder, folder / "data"):
        if existing and load_card(name).embedded:
            raise UsageError(f"{name} is a competition of Podium's own: choose another name for {source}, id=NAME")
        bring(source, folder, say, again=not existing)
    if existing:
        say(f"{existing} is there already, and is kept")
        card = load_card(name)
        ensure_data(card, say)
    else:
        card = _new_card(source, name, given, say, slug, fits)
    samples = load_samples(card)
    write_json(runs_folder(name) / "overview.json", overview(card, samples, say))
    return card


def _new_card(
    source: Path | None, name: str, given: dict[str, Any], say: Say, slug: str | None, fits: Fits | None
) -> Card:
    """Detect, check the result on all rows, and only then write the card."""
    folder = competition_folder(name)
    found = detect(folder / "data", given, title=name)
    archive = source or folder / f"{slug}.zip"
    for key, value in (("kaggle", slug), ("archive", archive.name if archive.is_file() else None)):
        if value and key not in found.draft.facts:
            found.draft.put(key, value)
    card = check_card(name, found.draft.tree(), "")
    if found.test_labels is not None:
        with written_whole(folder / card.test_labels) as part:
            found.test_labels.to_csv(part, index=False)
    pixel_columns.ensure_images(card, say)
    _check(card, fits)
    write_text(folder / "card.yaml", found.draft.text(_heading(source.name if source else slug or name)))
    _tell(found, card, say)
    return card


def _check(card: Card, fits: Fits | None) -> None:
    """All that the next commands would refuse. Raises UsageError or Problem."""
    metric(card.metric, card.folder, card.target)
    samples = load_samples(card)
    test_answers(card, samples, samples.test["id"].to_numpy())
    if fits:
        fits(card, samples)


def _heading(origin: str) -> list[str]:
    return [
        f"Worked out from the files of {origin} by python -m src.prepare: each line says how.",
        "Correct what is wrong; a guess is what the files do not tell. Paths are below data/.",
    ]


def _tell(found: Found, card: Card, say: Say) -> None:
    path = card.folder / "card.yaml"
    say(f"wrote {path}")
    if card.test is None:
        say(
            "WARNING: no test images were found, so there will be nothing to submit. "
            f"If there are some, delete {path} and add test.files=PATTERN or test.table=TABLE here"
        )
    for note in found.notes:
        say(f"note: {note}")
    for key, fact in found.draft.guesses.items():
        say(f"guess: {key}={flow(fact.value)} ({fact.how})")
    if found.draft.guesses:
        say(f"Where a guess is wrong, edit the card; or delete {path} and add KEY=VALUE to this command")
