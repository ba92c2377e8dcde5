"""The file in which a look is kept, cache/look.npz: what is small is read, the thumbnails are mapped where they lie."""

import mmap
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from src.runs import written_whole

READ = ("stamp", "digest", "hash", "size", "fault")
THUMB, NAME = "thumb", "name"
BLOCK = 1 << 16  # names compared at a time


class LookFile:
    """An earlier look. Its thumbnails, most of it, stay on the disk until they are asked for.

    facts: the arrays of READ and the mapped `thumb`, a row an image each.
    """

    def __init__(self, file: Path) -> None:
        with np.load(file, allow_pickle=False) as stored:
            self.facts = {key: stored[key] for key in READ}
        self.facts["fault"] = self.facts["fault"].astype(object)
        self.facts[THUMB] = _mapped(file, THUMB)
        self._names = _mapped(file, NAME)

    def places(self, names: list[str]) -> np.ndarray:
        """The row of each name, (len(names),) int64, -1 where there is none."""
        if len(names) == len(self._names) and all(
            self._holds(names[start : start + BLOCK], start) for start in range(0, len(names), BLOCK)
        ):
            return np.arange(len(names))
        return pd.Index(self._names.tolist(), dtype=object).get_indexer(names)

    def _holds(self, names: list[str], start: int) -> bool:
        """Whether these names stand in the file from the row `start` on."""
        same = np.array_equal(self._names[start : start + len(names)], np.array(names))
        let_go(self._names)
        return same


def let_go(mapped: np.ndarray) -> None:
    """Free the memory of an array that is mapped; what is asked for again is read anew. Others stay as they are."""
    if isinstance(mapped.base, mmap.mmap):
        mapped.base.madvise(mmap.MADV_DONTNEED)


def read_look(file: Path, rule: str) -> LookFile | None:
    """An earlier look; None where there is none, or it was made by another rule."""
    if not file.is_file():
        return None
    with np.load(file, allow_pickle=False) as stored:
        if str(stored["rule"]) != rule:
            return None
    return LookFile(file)


def write_look(file: Path, rule: str, names: list[str], facts: dict[str, np.ndarray]) -> None:
    """facts: those of READ and `thumb`. Uncompressed, as it must be to be mapped."""
    text = {key: values.astype(str) if values.dtype == object else values for key, values in facts.items()}
    with written_whole(file) as part, part.open("wb") as out:
        np.savez(out, name=np.array(names, dtype=str), rule=rule, **text)


def _mapped(file: Path, key: str) -> np.ndarray:
    """An array of an uncompressed npz, read-only, of which only what is looked at comes into memory."""
    with file.open("rb") as raw:
        with zipfile.ZipFile(raw) as archive:
            entry = archive.getinfo(f"{key}.npy")
        raw.seek(entry.header_offset + 26)  # the local header's two lengths; its name and extra field follow
        lengths = raw.read(4)
        raw.seek(int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little"), 1)
        np.lib.format.read_magic(raw)
        shape, _, dtype = np.lib.format.read_array_header_1_0(raw)
        return np.memmap(raw, dtype, "r", offset=raw.tell(), shape=shape) if 0 not in shape else np.zeros(shape, dtype)
