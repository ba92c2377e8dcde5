"""Files that appear whole or not at all, and the one reader of the small files that Podium writes.

What a killed process, a full disk or a careless hand left of a file is told in one line: the file, what is wrong with
it, and the remedy. The readers raise DamagedFile; whoever can make the file anew catches that.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import hashlib
import io
import json
import os
import re
import struct
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
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
# {name: {key: types}}: what is read of these files. A damaged or edited one may be whole JSON and hold something else.
TEXT, NUMBER = (str,), (int, float)
KINDS: dict[str, dict[str, tuple[type, ...]]] = {
    "run.json": {"folds": TEXT, "config_hash": TEXT, "commit": TEXT, "extensions": (dict,), "packages": (dict,)}
    | {"ignored": (str, type(None))},
    "machine.json": {"device": TEXT, "precision": TEXT, "layout": TEXT, "workers": (int,), "batch": (int,)}
    | {"threads": (int, type(None))},
    "done.json": {"weights": TEXT, "score": NUMBER, "epochs": (int,), "seconds": NUMBER, "best_epoch": (int,)}
    | {"last_score": NUMBER, "best_score": NUMBER},
    "review.json": {"shift": (dict, type(None)), "written": (dict,), "label_issues": (int,)},
}
MADE_ANEW = "delete it, and the same command makes it anew"

FORMULA = re.compile(r"'*[=+\-@\t\r]")  # begins a formula, or was defused before
DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")

# ${name:...}, however nested, calls a function, such as one that reads the environment.
RESOLVER = re.compile(r"\$\{.*:", re.DOTALL)
REFERENCE = re.compile(r"\$\{([^${}]*)\}")
LARGEST_JSON = 100_000_000  # bytes
LARGEST_SETTINGS = 2_000_000  # bytes of a card or configuration, and values and letters that it may come to

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
    sizes = format_size(needed), format_size(free)
    if sizes[0] == sizes[1]:
        sizes = f"{needed:,.0f} bytes", f"{free:,.0f} bytes"
    return f"{sizes[0]} are needed and {sizes[1]} are free"


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
    if path.is_file() and path.stat().st_size > LARGEST_JSON:
        raise damaged(path, f"holds more than {format_size(LARGEST_JSON)}", remedy)
    try:
        value = json.loads(read_text(path, remedy))
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"is no whole JSON file ({error})", remedy) from None
    if not isinstance(value, kind):
        raise damaged(path, f"holds a {type(value).__name__} and must hold a {kind.__name__}", remedy)
    if not isinstance(value, dict):
        return value
    for key, kinds in KINDS.get(path.name, {}).items():
        if not isinstance(value.get(key, kinds[0]()), kinds):
            raise damaged(path, f"tells {str(value[key])[:40]!r} as {key!r}", remedy)
    facts = Facts(value)
    facts.path, facts.remedy = path, remedy
    return facts


def read_csv(
    path: Path,
    columns: Sequence[str] = (),
    remedy: str | None = None,
    dtype: dict[str, type] | None = None,
    numbers: bool = False,
) -> pd.DataFrame:
    """A table that Podium wrote, which ends with a line's end and has these columns; columns of `dtype` str keep every
    cell as it is. numbers: all others hold numbers. Raises DamagedFile, and MissingFile where it is not there."""
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
    if numbers:
        text = [column for column in table.drop(columns=kept) if not pd.api.types.is_numeric_dtype(table[column])]
        if text:
            raise damaged(path, f"holds text in the column {text[0]!r}", remedy)
    return table


def defused(cell: str) -> str:
    """A cell of text for people: with a quote before it where a spreadsheet would take it for a formula."""
    return f"'{cell}" if FORMULA.match(cell) and not DECIMAL.fullmatch(cell) else cell


def undefused(cell: str) -> str:
    """The cell that `defused` was given."""
    return cell[1:] if cell[:1] == "'" and FORMULA.match(cell[1:]) else cell


def csv_for_people(table: pd.DataFrame, index: bool = False) -> str:
    """The CSV of a table that is opened in a spreadsheet: names and text in it are `defused`, whoever wrote them."""
    import pandas as pd

    def plain(value: Any) -> Any:
        return defused(value) if isinstance(value, str) else value

    table = table.rename(columns=plain, index=plain if index else None)
    for place, kind in enumerate(table.dtypes):
        if not pd.api.types.is_numeric_dtype(kind):
            table.isetitem(place, table.iloc[:, place].map(plain))
    return table.to_csv(index=index, lineterminator="\n")


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
    are kept, into what is handed in. Nor may a few lines come to gigabytes. Raises UsageError, in one line, for
    whatever is no such file.
    """

    def load(text: str) -> Any:
        tree = _tree_of(text)
        asking = next((cell for cell in _cells(tree) if RESOLVER.search(cell)), None)
        if asking is not None:
            raise UsageError(
                f"{path}: {asking[:80]!r} asks for something outside of this file, which no card or configuration may: "
                "write the value itself",
                code="resolver",
            )
        return _References(tree).value(tree)

    return _read_yaml(path, load, kinds)


@functools.lru_cache(maxsize=32)  # a command reads default.yaml, a card and a run's configuration several times each
def _tree_of(text: str) -> Any:
    """YAML as a plain tree, which nobody changes."""
    from omegaconf import OmegaConf

    # omegaconf from 2.4 on has a bound of its own, which a list of 10,000 classes passes.
    os.environ.setdefault("OMEGACONF_MAX_YAML_EXPANDED_NODES", str(LARGEST_SETTINGS))
    return OmegaConf.to_container(OmegaConf.load(io.StringIO(text)))


def read_words(path: Path) -> dict[str, Any]:
    """A YAML file whose values are kept as they are written, such as 1e-3. Raises UsageError as `read_settings`."""
    import yaml

    return _read_yaml(path, lambda text: yaml.load(text, Loader=yaml.BaseLoader), (dict,))


def _read_yaml(path: Path, load: Callable[[str], Any], kinds: tuple[type, ...]) -> Any:
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        text = _small_text(path)
        if not text.strip():
            raise UsageError(f"{path} is empty: write it anew, or put a copy of it back", code="damaged-file")
        _check_aliases(text)
        tree = load(text)
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not written in UTF-8 (byte {error.start}): save it as UTF-8, or put a copy of it back",
            code="damaged-file",
        ) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", code="damaged-file") from None
    except RecursionError:
        raise UsageError(f"{path} nests its values too deep, or in a circle", code="damaged-file") from None
    except _TooLarge as error:
        raise UsageError(f"{path} {error}, which no card or configuration needs", code="too-large") from None
    except (YAMLError, OmegaConfBaseException, ValueError, TypeError, AttributeError) as error:
        message = " ".join(str(error).split())
        raise UsageError(f"{path} is not valid YAML: {message[:300]}", code="damaged-file") from None
    if not isinstance(tree, kinds):
        raise UsageError(f"{path} must hold keys and values", code="damaged-file")
    return tree


class _TooLarge(Exception):
    """What a stranger's file comes to fills the memory."""


def _small_text(path: Path) -> str:
    """Raises UsageError for what is no file, such as a pipe, and _TooLarge."""
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is no file: put one in its place", code="damaged-file")
    with path.open("rb") as file:
        data = file.read(LARGEST_SETTINGS + 1)
    if len(data) > LARGEST_SETTINGS:
        raise _TooLarge(f"holds more than {format_size(LARGEST_SETTINGS)}")
    return data.decode("utf-8-sig")


def _check_aliases(text: str) -> None:
    """Raises _TooLarge where `*name` repeats parts that repeat others, until they fill the memory."""
    import yaml

    if "*" not in text or "&" not in text:
        return
    nodes: dict[int, int] = {}

    def count(node: yaml.Node) -> int:
        """The nodes that a loader makes of it, which copies what an alias names."""
        if id(node) not in nodes:
            parts = node.value if isinstance(node, yaml.CollectionNode) else ()
            pairs = (part if isinstance(part, tuple) else (part,) for part in parts)
            nodes[id(node)] = 1 + sum(count(one) for pair in pairs for one in pair)
        return nodes[id(node)]

    if count(yaml.compose(text, yaml.SafeLoader)) > LARGEST_SETTINGS:
        raise _TooLarge(f"repeats itself by aliases to more than {LARGEST_SETTINGS:,} values")


class _References:
    """The values of a tree in which `${a.b}` stands for what its key a.b holds."""

    def __init__(self, tree: Any) -> None:
        self.tree, self.left = tree, LARGEST_SETTINGS

    def value(self, node: Any) -> Any:
        """Raises _TooLarge where references to references come to too much, RecursionError where they go round."""
        self.left -= 1 + (len(node) if isinstance(node, str) else 0)
        if self.left < 0:
            raise _TooLarge(f"repeats itself by ${{...}} to more than {format_size(LARGEST_SETTINGS)}")
        if isinstance(node, dict):
            return {key: self.value(part) for key, part in node.items()}
        if isinstance(node, list):
            return [self.value(part) for part in node]
        if not isinstance(node, str):
            return node
        whole = REFERENCE.fullmatch(node)
        if whole:
            return self.value(self._named(whole[1]))
        return REFERENCE.sub(lambda found: str(self.value(self._named(found[1]))), node)

    def _named(self, keys: str) -> Any:
        node = self.tree
        for key in keys.split("."):
            node = self.value(node) if isinstance(node, str) else node
            if isinstance(node, list) and key.isdecimal() and int(key) < len(node):
                node = node[int(key)]
            elif isinstance(node, dict) and key in node:
                node = node[key]
            else:
                raise ValueError(f"${{{keys}}} names no key of this file")
        return node


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
