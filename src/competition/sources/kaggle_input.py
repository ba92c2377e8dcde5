"""A competition whose files lie where somebody else put them, such as below /kaggle/input, read-only."""

import os
import shutil
from pathlib import Path

from src.competition.card import Card, load_card
from src.competition.sources.archives import is_archive, unpack_nested
from src.core.cli import Command, CommandLine
from src.core.errors import UsageError

CARD, METRIC, EXTENSIONS = "card.yaml", "metric.py", "extensions"


def competition_at(home: Path, competition: str, parts: Path, data: Path) -> Card:
    """Let `home` be PODIUM_HOME, with the card in the folder `parts` and the host's files in `data`, which stay as they
    are: links stand for them, and archives among them are unpacked beside.

    Raises UsageError or Problem for a wrong card or archive.
    """
    folder = home / "competition" / competition
    folder.mkdir(parents=True, exist_ok=True)
    for name in (CARD, METRIC):
        if (parts / name).exists():
            shutil.copyfile(parts / name, folder / name)
    if (parts / EXTENSIONS).is_dir():
        shutil.copytree(parts / EXTENSIONS, home / EXTENSIONS)
    archives = False
    for where, _, names in os.walk(data):
        here = folder / "data" / Path(where).relative_to(data)
        here.mkdir(parents=True, exist_ok=True)
        for name in names:
            (here / name).symlink_to(Path(where).resolve() / name)
            archives |= is_archive(Path(name))
    if archives:
        unpack_nested(folder / "data")
    os.environ["PODIUM_HOME"] = str(home)
    return load_card(competition)


def places(module: str, text: str, out: str) -> Command:
    """A command that takes PARTS, a folder that was made for it, and DATA, the host's files. out: by default."""
    command = Command(module, text, files="PARTS DATA", only=("hours", "out"))
    command.key("hours=9", "the time for all of it")
    command.key(f"out={out}", "where it is written")
    return command


def places_of(line: CommandLine, out: str) -> tuple[Path, Path, float, Path]:
    """PARTS, DATA, the hours, and where to write. Raises UsageError."""
    folders = [Path(word) for word in line.files]
    try:
        hours = float(line.keys.get("hours", "9"))
    except ValueError:
        hours = 0.0
    if len(folders) != 2 or not 0 < hours < 1000:
        raise UsageError(
            "name the folder of the parts, then that of the host's files, and hours= above 0; see --help",
            code="missing-value",
        )
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"{folder}: there is no such folder", code="no-such-folder")
    return *folders, hours, Path(line.keys.get("out", out))
