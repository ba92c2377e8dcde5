"""submissions/ledger.csv: every submission that was made, with where it came from and what it scored.

The file only ever grows: a later score is a later row with the same token or ref, and reading folds them together.
A row is one line; a line that a kill or a full disk cut short costs no other row.
"""

import csv
import errno
import io
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from src.core.errors import Problem
from src.core.files import DamagedFile, defused, read_json, undefused
from src.core.locks import hold
from src.core.paths import home, runs_folder

PUSHING = "PUSHING"  # written before the push: without a later row it may or may not have arrived
NOT_PUSHED = "NOT PUSHED"  # Kaggle has none of it
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Entry:
    """One submission. Scores are None where unknown; the interval of the out-of-fold score is its 95% one.

    `status` is PUSHING, NOT PUSHED, or Kaggle's own PENDING, COMPLETE or ERROR.
    """

    time: str = ""
    competition: str = ""
    file: str = ""
    sha256: str = ""
    token: str = ""
    ref: str = ""
    status: str = ""
    public_score: float | None = None
    private_score: float | None = None
    metric: str = ""
    oof_score: float | None = None
    oof_low: float | None = None
    oof_high: float | None = None
    commit: str = ""
    config_hash: str = ""
    runs: str = ""
    views: str = ""
    reason: str = ""
    message: str = ""
    counted_before: float | None = None  # submissions that Kaggle had counted when this push began


COLUMNS = tuple(field.name for field in fields(Entry))
LATER = ("counted_before",)  # columns that ledgers made before them lack
NUMBERS = frozenset(field.name for field in fields(Entry) if field.type == (float | None))


def ledger_file() -> Path:
    return home() / "submissions" / "ledger.csv"


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_since(time: str) -> float:
    """Seconds from a row's time until now; 0 where it is no time."""
    try:
        when = datetime.fromisoformat(time)
    except ValueError:
        return 0.0
    return (datetime.now(UTC) - when.replace(tzinfo=when.tzinfo or UTC)).total_seconds()


def append(*entries: Entry) -> None:
    """Add one row for each entry, whole or not at all; other processes wait their turn."""
    if not entries:
        return
    path = ledger_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b", buffering=0) as file:
        hold(file)
        columns, lead = _prepared(file, path)
        rows = "".join(_line(_cells(entry), columns) for entry in entries)
        end = file.seek(0, os.SEEK_END)
        data = lead + rows.encode("utf-8", "replace")
        try:
            if file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # what cuts a write short
            os.fsync(file.fileno())
        except OSError as error:
            file.truncate(end)
            error.filename = str(path)
            raise


def read(competition: str | None = None) -> tuple[list[Entry], list[str]]:
    """The submissions, oldest first, and one complaint for each line that could not be read."""
    path = ledger_file()
    try:
        with path.open("rb") as file:
            hold(file, shared=True)
            lines = _lines(file.read())
    except FileNotFoundError:
        return [], []
    columns = _header(lines[0]) if lines else None
    rows, complaints = [], []
    for number, line in list(enumerate(lines, 1))[1 if columns else 0 :]:
        if not line.strip():
            continue
        row = _row(line, columns or COLUMNS)
        if row is None:
            complaints.append(f"{path}, line {number}: cannot be read, and is passed over: {line[:60]!r}")
        elif competition in (None, row.competition):
            rows.append(row)
    return _folded(rows), complaints


def submitted_before(competition: str, sha256: str) -> Entry | None:
    """The latest submission of these bytes that Kaggle has, or may have."""
    made = [entry for entry in read(competition)[0] if entry.status != NOT_PUSHED]
    # A push from another machine is known by its token, which begins with the hash.
    same = [entry for entry in made if entry.sha256 == sha256 or sha256[:12] in entry.token]
    return same[-1] if same else None


def facts(competition: str, sha256: str) -> dict[str, str | float]:
    """Where these bytes came from, as prediction noted it beside its run, or its blend of runs, or src.kernel beside
    the run of a notebook; empty where none made such a file."""
    folder = runs_folder(competition)
    patterns = ("*/predictions/*.json", "blends/*/predictions/*.json", "*/kernel-*.json")
    for path in sorted(path for pattern in patterns for path in folder.glob(pattern)):
        try:
            noted = read_json(path)
        except (DamagedFile, OSError):
            continue
        if noted.get("sha256") == sha256:
            return _facts(noted, path)
    return {}


def _facts(noted: Mapping, path: Path) -> dict[str, str | float]:
    try:
        score = noted["score"] or {}
        plain = {key: str(noted[key] or "") for key in ("metric", "config_hash", "commit")}
        lists = {key: " ".join(map(str, noted[key])) for key in ("runs", "views")}
        numbers = {"oof_score": score.get("value"), "oof_low": score.get("low"), "oof_high": score.get("high")}
    except (KeyError, TypeError, AttributeError):
        raise Problem(
            f"{path} does not tell where its file came from: predict again (python -m src.predict)",
            code="no-provenance",
        ) from None
    return plain | lists | {key: float(value) for key, value in numbers.items() if value is not None}


def _prepared(file: BinaryIO, path: Path) -> tuple[tuple[str, ...], bytes]:
    """The columns of the file, and what must be written before a new row."""
    file.seek(0)
    held = file.read()
    header = _line(COLUMNS, None).encode()
    if header.startswith(held):  # empty, or killed while it wrote the header
        file.truncate(0)
        return COLUMNS, header
    columns = _header(_lines(held)[0])
    missing = [name for name in COLUMNS if name not in (*columns, *LATER)] if columns else []
    if missing:
        raise Problem(
            f"{path} has no column {missing[0]!r}: its first line must be\n{header.decode().strip()}",
            code="missing-column",
        )
    return columns or COLUMNS, b"" if held.endswith(b"\n") else b"\n"


def _lines(held: bytes) -> list[str]:
    # Not splitlines: only our own line end parts rows, whatever characters a message holds.
    lines = held.decode("utf-8", "replace").lstrip("\ufeff").split("\n")
    return [CONTROL.sub(" ", line.rstrip("\r")) for line in (lines[:-1] if lines[-1] == "" else lines)]


def _header(line: str) -> tuple[str, ...] | None:
    names = tuple(line.split(","))
    return names if {"competition", "sha256", "status"} <= set(names) else None


def _row(line: str, columns: tuple[str, ...]) -> Entry | None:
    """One line as an Entry. Of a line that was cut short the cells before the cut count."""
    try:
        cells = next(csv.reader([line], strict=True), [])
    except csv.Error:
        cells = line.replace('"', "").split(",")[:-1]
    if len(cells) < len(columns):
        cells = cells[:-1]
    values = {name: cell for name, cell in zip(columns, cells, strict=False) if name in COLUMNS}
    entry = Entry(**{name: _number(cell) if name in NUMBERS else undefused(cell) for name, cell in values.items()})
    known = entry.competition and (entry.ref or entry.token or entry.sha256)
    return entry if known else None


def _folded(rows: Iterable[Entry]) -> list[Entry]:
    """One entry a submission: later rows fill in and correct what earlier ones say."""
    found: list[Entry] = []
    places: dict[tuple[str, str], int] = {}
    for row in rows:
        keys = [(row.competition, key) for key in (row.ref, row.token) if key]
        keys = keys or [(row.competition, row.sha256)]
        place = next((places[key] for key in keys if key in places), None)
        if place is None:
            place = len(found)
            found.append(row)
        else:
            filled = {name: getattr(row, name) for name in COLUMNS if getattr(row, name) not in (None, "")}
            kept = {"time": found[place].time or row.time, "reason": row.reason}  # of the first row, and of the last
            found[place] = replace(found[place], **(filled | kept))
        places.update(dict.fromkeys(keys, place))
    return found


def _cells(entry: Entry) -> list[str]:
    return [_cell(getattr(entry, name)) for name in COLUMNS]


def _cell(value: str | float | None) -> str:
    if not isinstance(value, str):
        return "" if value is None else str(value)
    # One line a row, and nothing that a terminal would obey: blanks take the place of control characters.
    return defused(" ".join(CONTROL.sub(" ", value).split()))


def _line(cells: Iterable[str], columns: tuple[str, ...] | None) -> str:
    text = io.StringIO()
    held = dict(zip(COLUMNS, cells, strict=True))
    csv.writer(text, lineterminator="\n").writerow([held.get(name, "") for name in columns or COLUMNS])
    return text.getvalue()


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
