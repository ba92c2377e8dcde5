"""The results file: every measurement is appended as it ends, so that a restart goes on with what is missing."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from src.core.files import write_text
from tests.bench.row import Figures


@dataclass(frozen=True)
class Measurement:
    """figures: what was measured, or failed: why it could not be."""

    row: str
    side: str
    repeat: int
    tiny: bool
    machine: str
    commit: str
    when: str
    figures: Figures
    failed: str = ""


class Results:
    """The measurements of one file that were made on this machine, at the size asked for."""

    def __init__(self, file: Path, machine: str, tiny: bool) -> None:
        self.file, self.machine, self.tiny = file, machine, tiny

    def add(self, measurement: Measurement) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as out:
            out.truncate(sum(len(_line(one).encode()) for one in self._lines()))  # a line cut off by a crash goes
            out.write(_line(measurement))
            out.flush()
            os.fsync(out.fileno())

    def all(self) -> list[Measurement]:
        """In the order in which they were made."""
        return [one for one in self._lines() if one.machine == self.machine and one.tiny == self.tiny]

    def of(self, row: str, side: str) -> dict[int, Figures]:
        """The figures of a side by repeat, those that failed left out."""
        return {one.repeat: one.figures for one in self.all() if (one.row, one.side) == (row, side) and not one.failed}

    def failure(self, row: str, side: str) -> str | None:
        """Why the side's latest measurement failed, where it did."""
        made = [one for one in self.all() if (one.row, one.side) == (row, side)]
        return made[-1].failed or None if made else None

    def forget(self, rows: set[str]) -> None:
        """Take these rows' measurements out of the file; those of other machines and sizes stay."""
        gone = [one for one in self.all() if one.row in rows]
        kept = [one for one in self._lines() if one not in gone]
        write_text(self.file, "".join(_line(one) for one in kept))

    def _lines(self) -> list[Measurement]:
        """Every measurement of the file. A last line that was cut off by a crash does not count."""
        if not self.file.exists():
            return []
        whole = [line for line in self.file.read_text(encoding="utf-8").splitlines(True) if line.endswith("\n")]
        return [Measurement(**json.loads(line)) for line in whole]


def _line(measurement: Measurement) -> str:
    return json.dumps(asdict(measurement), ensure_ascii=False) + "\n"
