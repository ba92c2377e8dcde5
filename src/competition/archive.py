"""A competition's files come to its data/ folder: written by a builder, or unpacked from the host's zip."""

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

from src.competition import digits
from src.competition.card import Card
from src.errors import Problem
from src.runs import home, only_one

EMBEDDED: dict[str, Callable[[Path, Path], None]] = {"digits": digits.write}


def ensure_data(card: Card, say: Callable[[str], None] = print) -> Path:
    """The data/ folder of the card's competition, made at first use. It appears whole or not at all.

    Raises Problem where the archive is absent or unsafe, or the disk is too full for it.
    """
    if card.data.is_dir():
        return card.data
    with only_one(card.folder, f"setting up competition/{card.id}"):
        part = card.folder / ".data.part"
        shutil.rmtree(part, ignore_errors=True)
        if card.embedded:
            say(f"writing the images of {card.id} to {card.data}")
            EMBEDDED[card.embedded](part, card.folder / "answers")
        elif card.archive:
            archive = find_archive(card)
            say(f"unpacking {archive} to {card.data}")
            unpack(archive, part)
        else:
            raise Problem(
                f"{card.data} is absent: put the host's files there, as competition/{card.id}/card.yaml names them"
            )
        part.rename(card.data)
    return card.data


def find_archive(card: Card) -> Path:
    """The card's zip: in the competition's folder, in $PODIUM_DATA, or in ../shared/data."""
    shared = Path(os.environ.get("PODIUM_DATA") or home() / ".." / "shared" / "data").resolve()
    for path in (card.folder / card.archive, shared / card.archive):
        if path.is_file():
            return path
    raise Problem(
        f"the images of {card.id} are not here: put {card.archive} into {card.folder}/, "
        f"or set PODIUM_DATA to the folder that holds it (looked in {shared})"
    )


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip inside `folder`; system litter is left out. Raises Problem for a name that would leave it."""
    try:
        with zipfile.ZipFile(archive) as file:
            members = [m for m in file.infolist() if not m.is_dir() and not _litter(m.filename)]
            needed, free = sum(m.file_size for m in members), shutil.disk_usage(_existing(folder)).free
            if needed * 1.05 > free:
                raise Problem(
                    f"{archive.name} needs {needed / 1e9:.1f} GB unpacked, but only {free / 1e9:.1f} GB are free: make room"
                )
            for member in members:
                target = (folder / member.filename).resolve()
                if not target.is_relative_to(folder.resolve()):
                    raise Problem(
                        f"{archive} holds {member.filename!r}, which would leave its folder: nothing was unpacked"
                    )
                target.parent.mkdir(parents=True, exist_ok=True)
                with file.open(member) as source, target.open("wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
    except zipfile.BadZipFile as error:
        raise Problem(f"{archive} is no whole zip ({error}): download it again") from None


def _litter(name: str) -> bool:
    return name.startswith("__MACOSX/") or Path(name).name.startswith("._") or Path(name).name == ".DS_Store"


def _existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())
