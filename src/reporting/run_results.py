"""The run that a report is about: its members, and what they answered to rows that they never saw, as it is stored."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.competition.competition import Competition, open_competition
from src.competition.run_record import verify
from src.config.request import ALL, Request
from src.core.files import damaged, read_csv, read_json
from src.core.paths import DONE, Run
from src.evaluation.held_out import HeldOut
from src.images.cache import ImageCache
from src.images.stream import ImageStream
from src.inference.external_runs import ExternalTables, check_external_run, existing_run, external_members, is_external
from src.inference.logits_store import StoredTables
from src.inference.members import trained_members
from src.inference.score_table import held_out, held_out_answers, probabilities
from src.inference.trained_networks import Member
from src.inference.tta import PLAIN
from src.reporting.probe_floor import ProbeFloor, is_probe, probe_floor

LOG = "log.csv"


@dataclass(frozen=True)
class RunResults:
    """members: those that are told of. held: the rows that they hold out; None where they have seen every row."""

    run: Run
    competition: Competition
    members: tuple[Member, ...]
    tables: StoredTables
    held: HeldOut | None

    @property
    def classes(self) -> tuple[str, ...]:
        return self.competition.samples.classes

    @property
    def judges(self) -> list[Member]:
        """The members that hold rows out."""
        return [member for member in self.members if member.fold != ALL]

    @cached_property
    def plain(self) -> np.ndarray:
        """(held rows, classes) out-of-fold probabilities of the plain view, the mean over seeds."""
        return self._answers(PLAIN)

    @cached_property
    def views(self) -> tuple[str, ...]:
        """The views of the newest prediction whose tables are all there; the plain one where there is none."""
        for facts in reversed(self.predictions):
            views = tuple(facts["views"])
            same_size = facts.get("size") in (None, self.competition.config.images.size)
            files = [self.tables.file(member, "oof", view) for member in self.judges for view in views]
            if same_size and all(file.exists() for file in files):
                return views
        return PLAIN

    @cached_property
    def tta(self) -> np.ndarray:
        """(held rows, classes) the same of all views of the newest prediction."""
        return self._answers(self.views) if self.views != PLAIN else self.plain

    @cached_property
    def predictions(self) -> list[dict[str, Any]]:
        """What prediction noted of each submission, the oldest first."""
        files = sorted((self.run.folder / "predictions").glob("*.json"), key=lambda file: file.stat().st_mtime)
        return [read_json(file) for file in files]

    @cached_property
    def rows(self) -> np.ndarray:
        """(held rows,) their places in samples.train."""
        return self.competition.samples.positions(self.held.id)

    @cached_property
    def answers(self) -> np.ndarray:
        """(held rows,) class indices, or (held rows, classes) bool: the plain answers of the plain view."""
        return self.held.target.decide(self.plain)

    @cached_property
    def deaf(self) -> list[Member]:
        """The judges that give all the rows they held out, of which there are several, the same answer."""
        found = []
        for member in self.judges:
            ids = self.held.id[self.held.folds == member.fold]
            shown = probabilities(self.competition, self.tables, [member], PLAIN, "oof", ids)
            if len(np.unique(self.held.target.decide(shown), axis=0)) == 1 < len(ids):
                found.append(member)
        return found

    @cached_property
    def log(self) -> pd.DataFrame:
        """log.csv of every member, with its seed and fold; empty where the run was trained elsewhere."""
        parts = [log_of(m.folder).assign(seed=m.seed, fold=m.fold) for m in self.members if (m.folder / LOG).exists()]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()

    @cached_property
    def images(self) -> ImageCache | ImageStream:
        """Every image as it was decoded for training: the training rows, then the test rows."""
        return self.competition.images(once=True)

    @cached_property
    def floor(self) -> ProbeFloor | None:
        """The best probe of the same folds; None for a probe itself, and where there is none."""
        if self.held is None or is_probe(self.run):
            return None
        return probe_floor(self.competition, self.held, (self.run.name,))

    def done(self, member: Member) -> dict[str, Any]:
        file = member.folder / DONE
        return read_json(file) if file.exists() else {}

    def _answers(self, views: tuple[str, ...]) -> np.ndarray:
        return held_out_answers(self.competition, self.tables, self.judges, views, self.held)


def run_results(request: Request) -> RunResults:
    """Open a run. Raises UsageError where it does not exist or was made otherwise, Problem where files do not fit."""
    run = existing_run(request)
    competition = open_competition(request.config, run)
    if is_external(run):
        check_external_run(run, competition)
        members, tables = external_members(run, request, competition.folds.count), ExternalTables(competition, run)
    else:
        verify(run, competition)
        members, tables = trained_members(run, request), StoredTables(competition, run)
    folds = sorted({member.fold for member in members if member.fold != ALL})
    return RunResults(run, competition, tuple(members), tables, held_out(competition, folds) if folds else None)


def log_of(folder: Path) -> pd.DataFrame:
    """What each epoch of a finished fold did. Raises DamagedFile where the log does not hold all of them."""
    file = folder / LOG
    remedy = "delete it, and the page leaves its curves out"
    log = read_csv(file, ("epoch", "loss"), remedy, numbers=True)
    epochs = read_json(folder / DONE)["epochs"] if (folder / DONE).exists() else len(log)
    if len(log) != epochs:
        raise damaged(file, f"holds {len(log)} of {epochs} epochs", remedy)
    return log
