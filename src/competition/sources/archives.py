"""Archives of hosts, unpacked inside one folder: zip and tar, archives in archives, compressed single files."""

import bz2
import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from src.core.console import log
from src.core.errors import Problem
from src.core.files import format_size, needed_and_free

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
SINGLE = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
FOREIGN = (".7z", ".rar", ".tar.zst", ".zst")
DEPTH = 4  # archives within archives within ...
# What no data set has: so many bytes or files, or, above PLAIN bytes, so many times the size of its archive. Tables
# shrink to a twentieth, images hardly; deflate comes to a thousandth at most, and masks of zeros nearly do.
LARGEST, MOST_FILES, RATIO, PLAIN = 5e12, 20_000_000, 200, 1e9
SPARE = 1.05  # of the space that an archive's own figures ask for

# What a broken archive raises, whichever library finds it.
BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    lzma.LZMAError,
    gzip.BadGzipFile,
    zlib.error,
    UnicodeDecodeError,
    RuntimeError,
)


@dataclass(frozen=True)
class Member:
    """One file of an archive: its name as written there, its unpacked size in bytes, and how to read it."""

    name: str
    size: int
    open: Callable[[], BinaryIO]


@dataclass
class Bound:
    """What is unpacked of one source, archives within archives together, held against what data sets are like.

    packed: the bytes of the source's archives. anyway: the user has said that it is all right.
    """

    packed: int = 0
    anyway: bool = False
    unpacked: int = 0
    files: int = 0

    def take(self, archive: Path, size: int, files: int = 1) -> None:
        """Count what is about to be unpacked. Raises Problem where no data set is like that."""
        self.unpacked, self.files = self.unpacked + size, self.files + files
        strange = ""
        if self.unpacked > LARGEST:
            strange = f"{format_size(self.unpacked)} of files"
        elif self.unpacked > PLAIN and self.unpacked > RATIO * self.packed:
            strange = f"{format_size(self.unpacked)} of files in {format_size(self.packed)} of archive"
        elif self.files > MOST_FILES:
            strange = f"{self.files:,} files"
        if strange and not self.anyway:
            raise Problem(
                f"{archive} holds {strange}, as archives do that are made to fill a disk: it is not unpacked. If you "
                "know that it is as it should be, give python -m src.prepare SOURCE --unpack-anyway",
                code="archive-bomb",
            )


def is_archive(path: Path) -> bool:
    return path.name.lower().endswith((".zip", *TARS, *SINGLE, *FOREIGN))


def unpack(archive: Path, folder: Path, bound: Bound | None = None) -> None:
    """Unpack an archive into `folder`; system litter is left out.

    Raises Problem for links, for names that would leave the folder, for broken archives, for those that hold more than
    a data set does, and where space is short.
    """
    try:
        with _members(archive, bound or Bound(archive.stat().st_size)) as members:
            _unpack_members(archive, members, folder)
    except NotImplementedError:
        raise Problem(
            f"{archive} is packed by a method that is not read here, such as Deflate64: unpack it yourself with "
            "another program and give the folder",
            code="archive-method",
        ) from None
    except (*BROKEN, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # bz2 alone has no error of its own
            raise
        raise Problem(
            f"{archive} is no whole archive ({_in_short(error)}): download it again", code="damaged-archive"
        ) from None


def _in_short(error: Exception) -> str:
    """What a library says, in one line: tarfile tells of each method that it tried in a line of its own."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0] if len(lines) == 1 else "it does not begin like one"


def unpack_nested(folder: Path, bound: Bound | None = None) -> None:
    """Unpack the archives that lie below `folder`, each beside itself, and remove them.

    train.zip becomes train/, train.csv.zip becomes train.csv. One whose result is there already is left alone.
    """
    bound = bound or Bound()
    for depth in range(DEPTH):
        nested = [
            path for path in sorted(folder.rglob("*")) if path.is_file() and is_archive(path) and not litter(path.name)
        ]
        nested = [path for path in nested if not _stem(path).exists()]
        if not nested:
            return
        if depth == 0 and not bound.unpacked:  # of a folder: its archives are the source
            bound.packed += sum(path.stat().st_size for path in nested)
        for path in nested:
            log.info(f"unpacking {path.relative_to(folder)}")
            _unpack_beside(path, bound)
    raise Problem(
        f"{folder} holds archives within archives, more than {DEPTH} deep: unpack it yourself and give the folder",
        code="nested-archives",
    )


def _unpack_beside(path: Path, bound: Bound) -> None:
    goal, part = _stem(path), path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    unpack(path, part, bound)
    inside = [entry for entry in part.iterdir()] if part.exists() else []
    if len(inside) == 1 and inside[0].name == goal.name:
        inside[0].rename(goal)  # train.zip that holds train/
        part.rmdir()
    elif inside:
        part.rename(goal)
    path.unlink()


def _stem(path: Path) -> Path:
    lower = path.name.lower()
    ending = next(ending for ending in (*TARS, ".tar.zst", ".zip", *SINGLE, *FOREIGN) if lower.endswith(ending))
    return path.with_name(path.name[: -len(ending)] or "archive")


def _unpack_members(archive: Path, members: list[Member], folder: Path) -> None:
    members = [member for member in members if not litter(member.name)]
    needed, free = sum(member.size for member in members) * SPARE, shutil.disk_usage(existing(folder)).free
    if needed > free:
        raise Problem(f"{archive}: to unpack it {needed_and_free(needed, free)}: make room", code="disk-full")
    targets = [_inside(archive, member.name) for member in members]
    folder.mkdir(parents=True, exist_ok=True)
    for member, target in zip(members, targets, strict=True):
        path = folder / target
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("xb") as sink, member.open() as source:
                shutil.copyfileobj(source, sink, 1 << 20)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise Problem(
                f"{archive} holds {member.name!r} twice: unpack it yourself and give the folder",
                code="archive-name-twice",
            ) from None
        except OSError as error:
            error.filename = error.filename or str(path)  # a write that fails does not tell its file
            raise


def _inside(archive: Path, name: str) -> str:
    """The member's path below the folder. Some programs write \\ between its parts."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.parts or path.parts[0][1:2] == ":" or "\0" in name:
        raise Problem(
            f"{archive} holds {name!r}, which would leave its folder: nothing was unpacked",
            code="archive-leaves-folder",
        )
    return str(path)


@contextmanager
def _members(archive: Path, bound: Bound) -> Iterator[list[Member]]:
    lower = archive.name.lower()
    if lower.endswith(FOREIGN):
        raise Problem(
            f"{archive}: archives of this kind are not read here. Unpack it yourself and give the folder",
            code="archive-kind",
        )
    if lower.endswith(".zip"):
        with zipfile.ZipFile(archive) as file:
            entries = file.infolist()
            bound.take(archive, sum(entry.file_size for entry in entries), len(entries))
            yield [_from_zip(archive, file, entry) for entry in entries if not _is_folder(entry)]
    elif lower.endswith(TARS):
        with tarfile.open(archive) as file:
            entries = []
            for entry in file:  # to see the next one, all of this one is unpacked
                bound.take(archive, entry.size)
                entries.append(entry)
            yield [_from_tar(archive, file, entry) for entry in entries if not entry.isdir()]
    else:
        opener = SINGLE[archive.suffix.lower()]
        with opener(archive) as file:
            size = 0
            while chunk := file.read(1 << 20):
                bound.take(archive, len(chunk), 0)
                size += len(chunk)
        yield [Member(_stem(archive).name, size, lambda: opener(archive))]


def _is_folder(entry: zipfile.ZipInfo) -> bool:
    r"""Some programs write folders as train\."""
    return entry.is_dir() or (entry.filename.endswith("\\") and entry.file_size == 0)


def _from_zip(archive: Path, file: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Member:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise Problem(
            f"{archive} holds {entry.filename!r}, a link or device: only files are unpacked. Nothing was unpacked",
            code="archive-link",
        )
    if entry.flag_bits & 1:
        raise Problem(
            f"{archive} is locked with a password: unpack it yourself and give the folder", code="archive-password"
        )
    return Member(entry.filename, entry.file_size, lambda: file.open(entry))


def _from_tar(archive: Path, file: tarfile.TarFile, entry: tarfile.TarInfo) -> Member:
    if not entry.isreg():
        raise Problem(
            f"{archive} holds {entry.name!r}, a link or device: only files are unpacked. Nothing was unpacked",
            code="archive-link",
        )
    return Member(entry.name, entry.size, lambda: file.extractfile(entry))


def litter(name: str) -> bool:
    """Files that operating systems leave behind."""
    parts = name.replace("\\", "/").split("/")
    return "__MACOSX" in parts or parts[-1].startswith("._") or parts[-1] in (".DS_Store", "Thumbs.db", "desktop.ini")


def existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())
