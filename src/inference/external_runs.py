"""A run that was trained elsewhere: it brings its tables of logits, which are read and never computed.

How to write them stands at the head of store.py.
"""

from pathlib import Path

import numpy as np

from src.competition.competition import Competition
from src.config.request import ALL, Request
from src.core.console import note
from src.core.errors import Problem, UsageError
from src.core.files import DamagedFile, read_json
from src.core.paths import Run
from src.inference.logits_store import PARTS, WRITTEN_ANEW, Logits, StoredTables
from src.inference.trained_networks import Member
from src.inference.tta import PLAIN


def existing_run(request: Request) -> Run:
    """The run that is asked for, trained here or brought. Raises UsageError where there is none."""
    run = Run(request.competition, request.run)
    if not (run.folder / "run.json").exists():
        raise UsageError(
            f"run {run.name} of {run.competition} does not exist yet: train it first, "
            f"python -m src.train with the same words",
            code="unknown-run",
        )
    return run


def is_external(run: Run) -> bool:
    return (run.folder / "run.json").exists() and not (run.folder / "config.yaml").exists()


def check_external_run(run: Run, competition: Competition) -> None:
    """Raises Problem where the run does not tell its folds, or stands on other ones."""
    file = run.folder / "run.json"
    try:
        folds = read_json(file)["folds"]
    except DamagedFile:
        raise Problem(
            f'{file} must be json such as {{"folds": "{competition.folds.hash}"}}: the hash of the fold table that the '
            f"run was trained on, see the head of src/inference/logits_store.py",
            code="bad-run-facts",
        ) from None
    if folds != competition.folds.hash:
        raise Problem(
            f"run {run.name} stands on other folds ({folds}, as {file} tells) than those asked for "
            f"({competition.folds.hash}), so its networks saw rows that they would be judged on here: train it anew on "
            f"these, or give data.folds= and data.fold_seed= as its folds were made",
            code="run-folds-differ",
        )


def external_members(run: Run, request: Request, count: int) -> list[Member]:
    """As `trained_members`, of the folders seed<n>/fold<k> that are there. Raises UsageError for one that is not."""
    numbers = sorted(folder.name.removeprefix("seed") for folder in run.folder.glob("seed*"))
    seeds = request.seeds or tuple(int(number) for number in numbers if number.isdecimal()) or (0,)
    members = []
    for seed in seeds:
        there = [fold for fold in (*range(count), ALL) if (run.member(seed, fold) / "logits").is_dir()]
        folds = request.folds or [fold for fold in there if fold != ALL] or there
        absent = [run.member(seed, fold) / "logits" for fold in folds if fold not in there]
        if absent or not folds:
            folder = absent[0] if absent else run.member(seed, 0) / "logits"
            raise UsageError(
                f"run {run.name} has no {folder}: bring it, or leave its seed and fold out", code="missing-logits"
            )
        members += [Member(seed, fold, run.member(seed, fold)) for fold in folds]
    return members


class ExternalTables(StoredTables):
    """Tables that lie there or do not: nothing is computed. They are always of the size that the run chose itself."""

    remedy = WRITTEN_ANEW

    def ensure(self, members: list[Member], views: tuple[str, ...], parts: tuple[str, ...] = PARTS) -> None:
        """Raises Problem that names the first table that is missing."""
        files = [self.file(m, part, view) for m in members for part in _parts_of(m, parts) for view in views]
        absent = [file for file in files if not file.exists()]
        if absent:
            more = f", and {len(absent) - 1} more tables" if len(absent) > 1 else ""
            raise Problem(
                f"run {self.run.name} does not bring {absent[0]}{more}: {WRITTEN_ANEW}", code="missing-logits"
            )

    def usable(self, members: list[Member], views: tuple[str, ...]) -> tuple[str, ...]:
        """Those views of which the run brings any table, and the plain one; it is told which are left out."""
        kept = tuple(view for view in views if view in PLAIN or any(_some(member.folder, view) for member in members))
        left = [view for view in views if view not in kept]
        if left:
            note(
                "views-missing",
                f"run {self.run.name} was trained elsewhere and brings no tables of {', '.join(left)}: left out",
            )
        return kept or PLAIN

    def seconds(self, members: list[Member], views: tuple[str, ...]) -> dict[str, float]:
        """As the tables tell. Views that do not are counted as the slowest that does, and as 0 where none does."""
        text = super().seconds(members, views)
        known = [value for value in text.values() if not np.isnan(value)]
        silent = [view for view, value in text.items() if np.isnan(value)]
        if silent and self.competition.config.predict.budget is not None:
            raise UsageError(
                f"predict.budget needs the time of each view, and {self.file(members[0], 'oof', silent[0])} does not "
                f'tell it: put {{"seconds_per_image": SECONDS}} into its meta, or leave predict.budget out',
                code="missing-seconds",
            )
        if silent:
            note(
                "time-missing",
                f"run {self.run.name} does not tell the time of {', '.join(silent)}: the table's is no measurement",
            )
        return {view: max(known, default=0.0) if view in silent else value for view, value in text.items()}

    def _check(self, member: Member, table: Logits, path: Path) -> None:
        if not np.isfinite(table.logits).all():
            row = int(np.flatnonzero(~np.isfinite(table.logits).all(axis=1))[0])
            raise Problem(
                f"{path}: the logits of id {str(table.id[row])!r} are not finite: {self.remedy}",
                code="logits-not-finite",
            )


def _parts_of(member: Member, parts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part for part in parts if part == "test" or member.fold != ALL)


def _some(folder: Path, view: str) -> bool:
    return any((folder / "logits" / f"{part}-{view}.npz").exists() for part in PARTS)
