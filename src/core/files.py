"""Files that appear whole or not at all, and the one reader of the small files that Podium writes.

What a killed process, a full disk or a careless hand left of a file is told in one line: the file, what is wrong with
it, and the remedy. The readers raise DamagedFile; whoever can make the file anew catches that.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import re
import struct
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.core.errors import Problem, UsageError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

PART = ".part"  # how the name of a file ends that is being written; it begins with a dot and the file's own name
STALE = 3600  # seconds after which a file that is being written belongs to nobody any more

OF_A_RUN = "put a copy of it back, or train under another name, run=NEWNAME"
REMEDIES = {
    "run.json": OF_A_RUN,
    "machine.json": OF_A_RUN,
    "config.yaml": OF_A_RUN,
    "done.json": "delete it, and src.train trains this fold again",
    "review.json": "delete it, and src.review makes it anew",
}
MADE_ANEW = "delete it, and the same command makes it anew"

# ${name:...}, however nested, calls a function, such as one that reads the environment.
RESOLVER = re.compile(r"\$\{.*:", re.DOTALL)

# What zipfile and numpy raise for bytes that are none of theirs.
BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, KeyError, TypeError)
BROKEN_ZIP += (RuntimeError, AttributeError, OverflowError, MemoryError, SyntaxError)


class DamagedFile(Problem):
    """A file that Podium wrote is empty, cut, or holds something else."""

    code = "damaged-file"


class MissingFile(DamagedFile):
    """A file that Podium wrote is not there."""

    code = "missing-file"


def damaged(path: Path, reason: str, remedy: str | None = None) -> DamagedFile:
    """The error that tells what is wrong with a file, and its remedy: the usual one of its name, unless given."""
    return DamagedFile(f"{path} {reason}: {remedy or REMEDIES.get(path.name, MADE_ANEW)}")


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` if the block ends well, else remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep_parts(path.parent, path.name, older=STALE)
    part = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
        os.close(handle)
        part = Path(name)
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.chmod(0o644)
        part.replace(path)
    except OSError as error:
        # A write that fails does not tell its file, and the temporary one's name tells the user nothing.
        if error.filename is None or part is None or str(error.filename) == str(part):
            error.filename = str(path)
        raise
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def sweep_parts(folder: Path, name: str = "", older: float = 0) -> None:
    """Delete what killed processes left half written of the file `name`, or of any, in `folder`.

    older: of that many seconds; 0 is for whoever alone writes there.
    """
    for part in folder.glob(f".{glob.escape(name) if name else '*'}.*{PART}"):
        with contextlib.suppress(OSError):
            if part.is_file() and time.time() - part.stat().st_mtime >= older:
                part.unlink()


def write_text(path: Path, text: str) -> None:
    with written_whole(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def format_size(size: float) -> str:
    """A number of bytes for people, in the unit that fits it: 512 bytes, 1.4 kB, 3.2 MB, 1.50 TB."""
    for unit, decimals in (("kB", 1), ("MB", 1), ("GB", 2)):
        size /= 1000
        if size < 999.5:
            return f"{size * 1000:.0f} bytes" if unit == "kB" and size < 1 else f"{size:.{decimals}f} {unit}"
    return f"{size / 1000:.2f} TB"


def needed_and_free(needed: float, free: float) -> str:
    """How much is needed and how much there is, never in the same words for two numbers."""
    told = format_size(needed), format_size(free)
    if told[0] == told[1]:
        told = f"{needed:,.0f} bytes", f"{free:,.0f} bytes"
    return f"{told[0]} are needed and {told[1]} are free"


class Facts(dict[str, Any]):
    """What a JSON file holds. A key that it lacks is told with the file, as everything else that is wrong with it."""

    path = Path()
    remedy: str | None = None

    def __missing__(self, key: str) -> Any:
        raise damaged(self.path, f"does not tell {key!r}", self.remedy)


def read_json(path: Path, remedy: str | None = None, kind: type = dict) -> Any:
    """What `write_json` wrote: Facts, or a plain list where `kind` is list.

    Raises DamagedFile, and MissingFile where it is not there; `remedy` is told in place of the usual one.
    """
    try:
        value = json.loads(read_text(path, remedy))
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"is no whole JSON file ({error})", remedy) from None
    if not isinstance(value, kind):
        raise damaged(path, f"holds a {type(value).__name__} and must hold a {kind.__name__}", remedy)
    if not isinstance(value, dict):
        return value
    facts = Facts(value)
    facts.path, facts.remedy = path, remedy
    return facts


def read_csv(
    path: Path, columns: Sequence[str] = (), remedy: str | None = None, dtype: dict[str, type] | None = None
) -> pd.DataFrame:
    """A table that Podium wrote, which ends with a line's end and has these columns; columns of `dtype` str keep every
    cell as it is. Raises DamagedFile, and MissingFile where it is not there."""
    import io

    import pandas as pd

    text = read_text(path, remedy)
    if not text.endswith("\n"):
        raise damaged(path, "ends within a line", remedy)
    kept = [column for column, kind in (dtype or {}).items() if kind is str]
    try:
        table = pd.read_csv(io.StringIO(text), dtype=dtype, keep_default_na=not kept)
    except ValueError as error:
        raise damaged(path, f"is no table ({' '.join(str(error).split())})", remedy) from None
    missing = [column for column in columns if column not in table]
    if missing:
        raise damaged(path, f"has no column {missing[0]!r}", remedy)
    return table


def read_npz(path: Path, names: Sequence[str] = (), remedy: str | None = None) -> dict[str, np.ndarray]:
    """These arrays of an npz file, or all; each is held to the checksum that the file keeps of it.

    Raises DamagedFile, and MissingFile where it is not there.
    """
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as held:
            return {name: held[name] for name in names or held.files}
    except FileNotFoundError:
        raise _missing(path, remedy) from None
    except BROKEN_ZIP as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk or a permission failed, not the file
        raise damaged(path, f"is no whole npz file ({' '.join(str(error).split())})", remedy) from None


def check_zip(path: Path, remedy: str | None = None) -> None:
    """Hold all of a zip file to its own checksums, as of a checkpoint. Raises DamagedFile, MissingFile."""
    try:
        with zipfile.ZipFile(path) as archive:
            wrong = archive.testzip()
    except FileNotFoundError:
        raise _missing(path, remedy) from None
    except BROKEN_ZIP as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise damaged(path, f"is not whole ({' '.join(str(error).split())})", remedy) from None
    if wrong is not None:
        raise damaged(path, f"is damaged (the checksum of {wrong} does not match)", remedy)


def read_settings(path: Path, kinds: tuple[type, ...] = (dict,)) -> Any:
    """A YAML file that people write: a card or a configuration. `${key}` stands for another key of the same file.

    Nothing else is looked up: what a file of a stranger says must not bring a variable of the environment, where keys
    are kept, into what is handed in. Raises UsageError, in one line, for whatever is no such file.
    """
    import io

    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        text = path.read_bytes().decode("utf-8-sig")
        if not text.strip():
            raise UsageError(f"{path} is empty: write it anew, or put a copy of it back", code="damaged-file")
        tree = OmegaConf.load(io.StringIO(text))
        asking = next((cell for cell in _cells(OmegaConf.to_container(tree)) if RESOLVER.search(cell)), None)
        if asking is not None:
            raise UsageError(
                f"{path}: {asking[:80]!r} asks for something outside of this file, which no card or configuration may: "
                "write the value itself",
                code="resolver",
            )
        tree = OmegaConf.to_container(tree, resolve=True)
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not written in UTF-8 (byte {error.start}): save it as UTF-8, or put a copy of it back",
            code="damaged-file",
        ) from None
    except (YAMLError, OmegaConfBaseException, RecursionError, ValueError, TypeError, AttributeError, OSError) as error:
        told = " ".join(str(error).split())
        raise UsageError(f"{path} is not valid YAML: {told[:300]}", code="damaged-file") from None
    if not isinstance(tree, kinds):
        raise UsageError(f"{path} must hold keys and values", code="damaged-file")
    return tree


def _cells(tree: Any) -> Iterator[str]:
    """Every text of a tree."""
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict | list):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from _cells(part)


def read_text(path: Path, remedy: str | None = None) -> str:
    """The text of a file that Podium wrote. Raises DamagedFile, and MissingFile where it is not there."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise _missing(path, remedy) from None
    if not data.strip():
        raise damaged(path, "is empty", remedy)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise damaged(path, f"is damaged (byte {error.start} is no text)", remedy) from None


def _missing(path: Path, remedy: str | None) -> MissingFile:
    remedy = remedy or REMEDIES.get(path.name, "the command that makes it makes it anew")
    return MissingFile(f"{path} is missing: {remedy.removeprefix('delete it, and ')}")
