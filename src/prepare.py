"""Make a competition of what a host serves: its files, and a card of facts worked out from them.

SOURCE is a folder, a zip or tar, or one table of pixels; or a competition that is here already; or else a Kaggle
competition's slug, which is downloaded. Leaves competition/NAME/data/, competition/NAME/card.yaml,
runs/NAME/overview.json and, to look at what was understood, competition/NAME/preview.html and preview.png.
A second start goes on with what is there; a card is never overwritten.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from src.core.cli import Command, CommandLine, Result
from src.core.console import log, note
from src.core.errors import UsageError
from src.core.process import run
from src.core.suggestions import nearest

if TYPE_CHECKING:
    from src.competition.card import Card
    from src.competition.samples import Samples

SLUG = re.compile(r"(?:https?://(?:www\.)?kaggle\.com/c(?:ompetitions)?/)?([A-Za-z0-9][\w-]*)/?(?:\?.*)?")


COMMAND = Command("src.prepare", __doc__, files="SOURCE")
COMMAND.key("id=NAME", "the competition's name here; by default that of SOURCE")
COMMAND.key(
    "confirm=all", "all, or keys such as confirm=metric,classes: guesses that are right, now or in a card that is there"
)
COMMAND.key(
    "key=value",
    "a fact of the card that goes before what is found, for example metric=auc target=ordinal group=patient "
    "train.table=labels.csv train.label=species train.images='train/{image_id}.jpg' on_bad_image=drop. "
    "group=none takes no column to group the images by, whatever the files say",
)
COMMAND.flag("--unpack-anyway", "unpack an archive though it holds more than any data set does")


def work(line: CommandLine) -> Result:
    source, name, given, confirmed = _parse(line)
    # Imported only now: a misspelt word is told at once.
    from src.competition.card import card_file
    from src.competition.create import prepare
    from src.core.paths import competition_folder
    from src.reporting.preview import write_preview

    how = {"confirmed": confirmed, "anyway": "--unpack-anyway" in line.flags}
    if Path(source).exists():
        done = prepare(Path(source), name, given, fits=_fits, **how)
    elif card_file(source):
        done = prepare(None, source, given, **how)
    else:
        slug = SLUG.fullmatch(source)[1]
        done = prepare(_download(source, name), name, given, slug=slug, fits=_fits, **how)
    preview, card = write_preview(done), done.card
    note("next-command", f"next: ./run.sh fold=0..4 competition={card.id}")
    log.info(f"what was understood, to look at: {preview}")
    folder, facts = competition_folder(card.id), card.model_dump(mode="json", exclude_none=True)
    files = {"card": folder / "card.yaml", "data": folder / "data", "preview": preview}
    return done.to_json() | {"facts": facts} | files


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    return COMMAND.main(work, argv)


def _parse(line: CommandLine) -> tuple[str, str, dict[str, Any], str | list[str]]:
    """SOURCE, the competition's name, the facts given, and the keys to confirm, or all. Raises UsageError."""
    if len(line.files) != 1:
        text = f"got {len(line.files)}" if line.files else "python -m src.prepare --help tells more"
        raise UsageError(
            f"give one SOURCE, a folder, an archive or a Kaggle slug, then key=value words ({text})", code="one-source"
        )
    from src.competition.card import card_file
    from src.competition.sources.data_folder import check_source

    source = line.files[0]
    check_source(Path(source), named=bool(SLUG.fullmatch(source) or card_file(source)))
    given = {key: _value(key, value) for key, value in line.keys.items()}
    name = given.pop("id", None) or _name_of(source)
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise UsageError(
            f"id={name}: a competition's name holds letters, digits and . _ - only; set id=NAME", code="bad-name"
        )
    confirmed = given.pop("confirm", [])
    if isinstance(confirmed, str) and confirmed != "all":
        confirmed = confirmed.split(",")
    _check_keys(given)
    return source, name, given, confirmed


def _value(key: str, word: str) -> Any:
    """A word as it stands, or a list or mapping of text; parameters may be numbers. {id}.jpg is a template."""
    if (key, word) == ("group", "none"):
        return None
    if not re.fullmatch(r"\[.*\]|\{.*: .*\}", word, re.DOTALL):
        return word
    try:
        return yaml.safe_load(word) if key in ("target", "metric") else yaml.load(word, Loader=yaml.BaseLoader)
    except yaml.YAMLError:
        raise UsageError(f"{key}={word}: cannot be read as a list or mapping", code="bad-value") from None


def _name_of(source: str) -> str:
    path = Path(source)
    if not path.exists():
        return slug[1] if (slug := SLUG.fullmatch(source)) else source
    path = path.resolve()
    if path.is_dir():
        return path.parent.name if path.name == "data" and path.parent.parent.name == "competition" else path.name
    return re.sub(r"((\.tar)?\.(zip|tar|gz|tgz|bz2|xz|7z)|\.(csv|tsv|jsonl?))$", "", path.name)


def _check_keys(given: dict[str, Any]) -> None:
    """Every key must have a place in a card; what it may hold is checked with the card."""
    from src.competition.card import Card, ImageFacts, Submission, Table, TrainTable

    parts = {"train": TrainTable, "validation": TrainTable, "test": Table, "submission": Submission}
    known = [key for key in Card.model_fields if key not in ("id", "extra", *parts)]
    known += [f"{part}.{key}" for part, kind in (parts | {"image": ImageFacts}).items() for key in kind.model_fields]
    for key in given:
        if key not in known and not re.fullmatch(r"extra\.\w+\.\w+", key):
            near = nearest(key, known) or f" Known: {', '.join(known)}"
            raise UsageError(f"unknown key {key}.{near}", code="unknown-key")


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
    return None if (folder / "data").is_dir() else download(SLUG.fullmatch(source)[1], folder)


if __name__ == "__main__":
    run(main)
