"""Make a competition of what a host serves: its files, and a card of facts worked out from them.

usage: python -m src.prepare SOURCE [id=NAME] [confirm=all] [key=value ...]

  SOURCE      a folder, a zip or tar; or a competition that is here already; or else a Kaggle competition's slug,
              which is downloaded
  id=NAME     the competition's name here; by default that of SOURCE
  key=value   a fact of the card that goes before what is found, for example metric=auc target=ordinal group=patient
              train.table=labels.csv train.label=species train.images='train/{image_id}.jpg' on_bad_image=drop
              group=none takes no column to group the images by, whatever the files say
  confirm=    all, or keys such as confirm=metric,classes: guesses that are right, now or in a card that is there

Leaves competition/NAME/data/, competition/NAME/card.yaml, runs/NAME/overview.json and, to look at what was understood,
competition/NAME/preview.html and preview.png.
A second start goes on with what is there; a card is never overwritten.
"""

import difflib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from src.core.errors import UsageError, exit_code
from src.core.process import run

if TYPE_CHECKING:
    from src.competition.card import Card
    from src.competition.samples import Samples

SLUG = re.compile(r"(?:https?://(?:www\.)?kaggle\.com/c(?:ompetitions)?/)?([A-Za-z0-9][\w-]*)/?(?:\?.*)?")


def door(argv: list[str]) -> None:
    if "--help" in argv or "-h" in argv:
        print(__doc__.strip())
        return
    source, name, given, confirmed = _parse(argv)
    # Imported only now: a misspelt word is told at once.
    from src.competition.card import card_file
    from src.competition.create import prepare
    from src.reporting.preview import write_preview

    if Path(source).exists():
        done = prepare(Path(source), name, given, fits=_fits, confirmed=confirmed)
    elif card_file(source):
        done = prepare(None, source, given, confirmed=confirmed)
    else:
        slug = SLUG.fullmatch(source)[1]
        done = prepare(_download(source, name), name, given, slug=slug, fits=_fits, confirmed=confirmed)
    preview = write_preview(done)
    print(f"next: ./run.sh fold=0..4 competition={done.card.id}")
    print(f"what was understood, to look at: {preview}")


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    return exit_code(door, argv)


def _parse(argv: list[str]) -> tuple[str, str, dict[str, Any], str | list[str]]:
    """SOURCE, the competition's name, the facts given, and the keys to confirm, or all. Raises UsageError."""
    flag = next((word for word in argv if word.startswith("-")), None)
    if flag:
        raise UsageError(f"unknown flag {flag}: this command has no flags but --help")
    sources = [word for word in argv if "=" not in word or Path(word).exists()]
    if len(sources) != 1:
        told = f"got {len(sources)}" if sources else "python -m src.prepare --help tells more"
        raise UsageError(f"give one SOURCE, a folder, an archive or a Kaggle slug, then key=value words ({told})")
    given: dict[str, Any] = {}
    for word in argv:
        key, _, value = word.partition("=")
        if word in sources:
            continue
        if key in given or not value:
            raise UsageError(f"{word!r}: write each key once, as key=value")
        given[key] = _value(key, value)
    name = given.pop("id", None) or _name_of(sources[0])
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise UsageError(f"id={name}: a competition's name holds letters, digits and . _ - only; set id=NAME")
    confirmed = given.pop("confirm", [])
    if isinstance(confirmed, str) and confirmed != "all":
        confirmed = confirmed.split(",")
    _check_keys(given)
    return sources[0], name, given, confirmed


def _value(key: str, word: str) -> Any:
    """A word as it stands, but for lists and mappings, whose parts stay text too. {id}.jpg is a template."""
    if (key, word) == ("group", "none"):
        return None
    if not re.fullmatch(r"\[.*\]|\{.*: .*\}", word, re.DOTALL):
        return word
    try:
        return yaml.load(word, Loader=yaml.BaseLoader)
    except yaml.YAMLError:
        raise UsageError(f"{key}={word}: cannot be read as a list or mapping") from None


def _name_of(source: str) -> str:
    path = Path(source)
    if not path.exists():
        slug = SLUG.fullmatch(source)
        if slug is None:
            raise UsageError(f"{source}: there is no such file or folder, and it is no Kaggle slug either")
        return slug[1]
    path = path.resolve()
    if path.is_dir():
        return path.parent.name if path.name == "data" and path.parent.parent.name == "competition" else path.name
    return re.sub(r"(\.tar)?\.(zip|tar|gz|tgz|bz2|xz|7z)$", "", path.name)


def _check_keys(given: dict[str, Any]) -> None:
    """Every key must have a place in a card; what it may hold is checked with the card."""
    from src.competition.card import Card, Submission, Table, TrainTable

    parts = {"train": TrainTable, "validation": TrainTable, "test": Table, "submission": Submission}
    known = [key for key in Card.model_fields if key not in ("id", "extra", *parts)]
    known += [f"{part}.{key}" for part, kind in parts.items() for key in kind.model_fields]
    for key in given:
        if key not in known and not re.fullmatch(r"extra\.\w+\.\w+", key):
            near = difflib.get_close_matches(key, known, n=1)
            told = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(known)}"
            raise UsageError(f"unknown key {key}. {told}")


def _fits(card: "Card", samples: "Samples") -> None:
    """Whether a submission can be written. Raises UsageError or Problem."""
    from src.submission.sample_layout import layout_of

    if card.submission:
        layout_of(card, samples)


def _download(source: str, name: str) -> Path | None:
    """The competition's archive, fetched by the kaggle command into competition/NAME/, and resumed where it stopped."""
    from src.core.paths import competition_folder
    from src.submission.kaggle.download import download

    folder = competition_folder(name)
    return None if (folder / "data").is_dir() else download(SLUG.fullmatch(source)[1], folder, print)


if __name__ == "__main__":
    run(main)
