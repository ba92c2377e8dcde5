"""A competition whose files lie where somebody else put them, such as below /kaggle/input, read-only."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from src.competition.card import Card, load_card
from src.competition.sources.archives import is_archive, unpack_nested
from src.core.errors import UsageError

CARD, METRIC = "card.yaml", "metric.py"


def competition_at(home: Path, competition: str, parts: Path, data: Path, say: Callable[[str], None] = print) -> Card:
    """Let `home` be PODIUM_HOME, with the card in the folder `parts` and the host's files in `data`, which stay as they
    are: links stand for them, and archives among them are unpacked beside.

    Raises UsageError or Problem for a wrong card or archive.
    """
    folder = home / "competition" / competition
    folder.mkdir(parents=True, exist_ok=True)
    for name in (CARD, METRIC):
        if (parts / name).exists():
            shutil.copyfile(parts / name, folder / name)
    archives = False
    for where, _, names in os.walk(data):
        here = folder / "data" / Path(where).relative_to(data)
        here.mkdir(parents=True, exist_ok=True)
        for name in names:
            (here / name).symlink_to(Path(where).resolve() / name)
            archives |= is_archive(Path(name))
    if archives:
        unpack_nested(folder / "data", say)
    os.environ["PODIUM_HOME"] = str(home)
    return load_card(competition)


def places_of(argv: list[str], out: str) -> tuple[Path, Path, float, Path]:
    """The words PARTS DATA [hours=9] [out=...] of a command: two folders, the hours, and where to write.

    Raises UsageError.
    """
    options, folders = {"hours": "9", "out": out}, []
    for word in argv:
        key, equals, value = word.partition("=")
        if equals and key in options:
            options[key] = value
        else:
            folders.append(Path(word))
    try:
        hours = float(options["hours"])
    except ValueError:
        hours = 0.0
    if len(folders) != 2 or not 0 < hours < 1000:
        raise UsageError("name the folder of the parts, then that of the host's files, and hours= above 0; see --help")
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"{folder}: there is no such folder")
    return *folders, hours, Path(options["out"])
