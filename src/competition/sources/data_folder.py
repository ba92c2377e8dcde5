"""A competition's files come to its data/ folder: written by a builder, unpacked, or taken from a folder."""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from src.competition.card import Card, load_card
from src.competition.file_tree import Tree
from src.competition.sources import demo_digits, pixel_columns, subset
from src.competition.sources.archives import SPARE, Bound, existing, is_archive, litter, unpack, unpack_nested
from src.core.console import log, note
from src.core.errors import Problem, UsageError
from src.core.files import DamagedFile, needed_and_free, read_json, write_json
from src.core.locks import remove_if_alone, waiting_lock
from src.core.paths import home
from src.core.wording import plural

TABLES = (".csv", ".tsv", ".json", ".jsonl")
EMBEDDED: dict[str, Callable[[Path, Path], None]] = {"digits": demo_digits.write}
ORIGIN = ".source.json"  # in data/: where it came from


def ensure_data(card: Card, anyway: bool = False) -> Path:
    """The data/ folder of the card's competition, made at first use. It appears whole or not at all.

    anyway: unpack also what is no data set by its size. Raises Problem where the archive is absent or unsafe, or the
    disk is too full for it.
    """
    if not card.data.is_dir():
        if card.embedded:
            log.info(f"writing the images of {card.id} to {card.data}")
            _appear(card.folder, lambda part: EMBEDDED[card.embedded](part, card.folder / "answers"))
        elif card.cut:
            base = _base(card)
            ensure_data(base)
            log.info(f"cutting {card.id} from {base.id}")
            _appear(card.folder, lambda part: subset.write(card.cut, base, part))
        elif card.archive:
            bring(find_archive(card), card.folder, anyway=anyway)
        else:
            raise Problem(
                f"{card.data} is absent: put the host's files there, as competition/{card.id}/card.yaml names them",
                code="no-data",
            )
    pixel_columns.ensure_images(card)
    return card.data


def check_source(source: Path, named: bool = False) -> None:
    """Raises UsageError for what is no folder, no file that is called like an archive, and no table.

    named: where there is no such file, it is the name of a competition.
    """
    if not source.exists():
        if named and not source.is_symlink():
            return
        what = "is a link to nothing" if source.is_symlink() else "is no file or folder, and no Kaggle slug either"
        raise UsageError(f"{source} {what}: give the folder that holds the images", code="no-such-source")
    if not source.is_dir() and not (source.is_file() and (is_archive(source) or _is_table(source))):
        raise UsageError(
            f"{source} is neither a folder nor an archive that is read here (zip, tar, gz, bz2, xz) nor a table of "
            "pixels: give the folder that holds the images",
            code="bad-source",
        )


def _is_table(path: Path) -> bool:
    return path.name.lower().endswith(TABLES)


def bring(source: Path, folder: Path, again: bool = False, anyway: bool = False) -> Path:
    """Make `folder`/data from an archive, a folder or one table, the source left as it is. What was taken from the
    same source, unchanged since, is kept, and what is missing of it brought back; else it is taken `again`, or refused.

    Raises UsageError where data/ came from elsewhere or `source` is another kind of file, Problem where it is empty or
    unsafe, or the disk is too full.
    """

    def whole(part: Path) -> None:
        log.info(f"{'unpacking' if packed else 'taking'} {source} to {data}")
        bound = Bound(0 if source.is_dir() else source.stat().st_size, anyway)
        if source.is_dir():
            _copy(source, part)
        elif packed:
            unpack(source, part, bound)
        else:
            part.mkdir(parents=True)
            shutil.copy2(source, part)
        unpack_nested(part, bound)
        tree = Tree(part)
        if not tree.files and not tree.dead:
            raise Problem(f"{source} is empty and holds no images: is it the right one?", code="no-images")
        origin["files"] = len(tree.files)

    check_source(source)
    packed = source.is_file() and is_archive(source)
    data, origin = folder / "data", origin_of(source)
    if not data.is_dir():
        return _appear(folder, whole, origin)
    held = _origin(folder)
    if held.get("stamp") == origin["stamp"]:
        note("data-kept", f"{data} is there already, and is kept")
        lost = held.get("files", 0) - len(Tree(data).files)
        if lost > 0:
            note(
                "files-brought-back",
                f"{plural(lost, 'file')} of {held['files']} missing there: brought back from {source}",
            )
            _bring_back(folder, whole)
        return data
    changed = ", which has changed since" if held.get("path") == origin["path"] else ""
    came = f"{data} came from {held.get('path', 'elsewhere')}{changed}"
    if not again or "stamp" not in held:
        raise UsageError(
            f"{came}: delete {data} to take {source} anew, or choose another name for this competition, id=NAME",
            code="data-of-other-source",
        )
    note("data-taken-anew", f"{came}, and no card was written yet: it is taken anew")
    return _appear(folder, whole, origin)


def origin_of(source: Path) -> dict[str, str | int]:
    """Where data come from: the path, and a hash of the names, sizes and times of the files there."""
    paths = [Path(root) / name for root, name in _files(source)] if source.is_dir() else [source]
    digest = hashlib.sha256()
    for path in paths:
        try:
            facts = path.stat()
        except FileNotFoundError:
            facts = path.lstat()  # a link to nothing
        name = path.relative_to(source) if source.is_dir() else path.name
        digest.update(f"{name}\0{facts.st_size}\0{facts.st_mtime_ns}\0".encode(errors="surrogateescape"))
    return {"path": str(source.resolve()), "stamp": digest.hexdigest()[:16]}


def _origin(folder: Path) -> dict[str, str | int]:
    """What is known of where `folder`/data came from; nothing where it was put there by hand."""
    file = folder / "data" / ORIGIN
    try:
        return read_json(file)
    except DamagedFile:
        return {}


def _appear(folder: Path, fill: Callable[[Path], None], origin: dict[str, str | int] | None = None) -> Path:
    """data/, whole; what stands there is replaced where its `origin` is another."""
    data = folder / "data"
    with _part_of(folder) as part:
        if data.is_dir() and (origin is None or _origin(folder).get("stamp") == origin["stamp"]):
            return data  # another process made it while this one came here
        fill(part)
        if origin:
            write_json(part / ORIGIN, origin)
        if data.is_dir():
            shutil.rmtree(data)
        part.rename(data)
    return data


def discard(folder: Path) -> None:
    """Remove `folder`/data, and the folder too where nothing else is in it."""
    with waiting_lock(folder / "lock", f"setting up competition/{folder.name}"):
        shutil.rmtree(folder / "data", ignore_errors=True)
        remove_if_alone(folder / "lock")


def _bring_back(folder: Path, fill: Callable[[Path], None]) -> None:
    """Put what `fill` makes and data/ lacks into data/; all that is there stays."""
    data = folder / "data"
    with _part_of(folder) as part:
        fill(part)
        for path in Tree(part).files:
            if not os.path.lexists(data / path):
                (data / path).parent.mkdir(parents=True, exist_ok=True)
                (part / path).rename(data / path)


@contextlib.contextmanager
def _part_of(folder: Path) -> Iterator[Path]:
    """Where data/ is made, one process after the other; nothing is left there."""
    part = folder / ".data.part"
    with waiting_lock(folder / "lock", f"setting up competition/{folder.name}", tidy=True):
        shutil.rmtree(part, ignore_errors=True)
        try:
            yield part
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _base(card: Card) -> Card:
    base = load_card(card.cut.of)
    if base.cut:
        raise UsageError(
            f"competition/{card.id}/card.yaml: {base.id} is a cut itself; cut from {base.cut.of}", code="cut-of-cut"
        )
    return base


def find_archive(card: Card) -> Path:
    """The card's archive: in the competition's folder, in $PODIUM_DATA, or in ../shared/data."""
    shared = Path(os.environ.get("PODIUM_DATA") or home() / ".." / "shared" / "data").resolve()
    for path in (card.folder / card.archive, shared / card.archive):
        if path.is_file():
            return path
    raise Problem(
        f"the images of {card.id} are not here: put {card.archive} into {card.folder}/, "
        f"or set PODIUM_DATA to the folder that holds it (looked in {shared})",
        code="missing-archive",
    )


def _copy(source: Path, part: Path) -> None:
    """The files of a folder, as hard links where the disk allows it, so that they take no space twice."""
    files = [(Path(root) / name) for root, name in _files(source)]
    links = {path for path in files if path.is_symlink()}
    dead = {path for path in links if not path.exists()}
    sizes = {path: path.stat().st_size for path in files if path not in dead}
    linked = _can_link(files, part)
    needed, free = sum(sizes.values()) * SPARE, shutil.disk_usage(existing(part)).free
    if not linked and needed > free:
        raise Problem(f"{source}: to copy it {needed_and_free(needed, free)}: make room", code="disk-full")
    for path in files:
        target = part / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path in dead:
            target.symlink_to(path.readlink())  # told with the files that are set aside
        elif linked and path not in links:
            os.link(path, target)
        else:
            shutil.copyfile(path, target)


def _files(source: Path) -> list[tuple[str, str]]:
    """Folders and names of all files; links to files count as files, links to folders must be named by the user."""
    found = []
    for root, folders, names in os.walk(source, onerror=_raise):
        link = next((name for name in folders if (Path(root) / name).is_symlink()), None)
        if link is not None:
            raise Problem(
                f"{Path(root) / link} is a link to a folder: give prepare a folder that holds the files themselves",
                code="linked-folder",
            )
        folders[:] = [name for name in folders if name != "__MACOSX" and not name.startswith(".")]
        found += [(root, name) for name in names if not litter(name)]
    return sorted(found)


def _raise(error: OSError) -> None:
    raise error


def _can_link(files: list[Path], part: Path) -> bool:
    """Whether hard links work between the two places: tried on the first file."""
    part.mkdir(parents=True, exist_ok=True)
    probe = part / ".probe"
    try:
        os.link(next(path for path in files if not path.is_symlink()), probe)
    except (OSError, StopIteration):
        return False
    probe.unlink()
    return True
