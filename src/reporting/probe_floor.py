"""The floor of a competition: what a head fitted on frozen features scores on the rows that a run held out.

Training has to do better than the best finished probe of the same folds.
"""

from dataclasses import dataclass

import numpy as np

from src.competition.competition import Competition
from src.config import run_config
from src.core.errors import Problem
from src.core.files import read_json
from src.core.paths import DONE, Run, runs_folder
from src.evaluation.bootstrap import bootstrap_interval, format_interval
from src.evaluation.held_out import HeldOut
from src.inference.logits_store import StoredTables
from src.inference.members import trained_seeds
from src.inference.score_table import held_out_answers
from src.inference.trained_networks import Member
from src.inference.tta import PLAIN


@dataclass(frozen=True)
class ProbeFloor:
    """A probe on these held-out rows, in the plain view. answers: (rows, outputs) predictions. others: more probes."""

    run: str
    answers: np.ndarray
    score: float
    low: float
    high: float
    others: int

    def __str__(self) -> str:
        return f"probe {self.score:.4f} ({format_interval(self.low, self.high)}): run {self.run}"


def probe_floor(competition: Competition, held: HeldOut, besides: tuple[str, ...]) -> ProbeFloor | None:
    """The best probe of the same folds, `besides` left out; None where there is none that answered all these rows."""
    answers = {}
    for file in sorted(runs_folder(competition.card.id).glob(f"*/{run_config.CONFIG}")):
        run = Run(competition.card.id, file.parent.name)
        if run.name not in besides:
            found = _answers(competition, run, held)
            if found is not None:
                answers[run.name] = found
    if not answers:
        return None
    best = max(answers, key=lambda run: held.objective((answers[run], None)))
    low, high = bootstrap_interval(held.metric, held.targets, answers[best], held.groups, rows=held.rows)
    score = held.metric.score(held.targets, answers[best], rows=held.rows)
    return ProbeFloor(best, answers[best], score, low, high, len(answers) - 1)


def is_probe(run: Run) -> bool:
    """Whether a run of this name fitted a head on frozen features and trained nothing."""
    return run_config.is_stored(run) and run_config.read(run.folder).only_probe


def _fitted(run: Run) -> bool:
    """Whether a finished fold notes the fit of a head: one small file tells of a run, and its configuration, which
    takes a hundred times as long to read, is read of these alone."""
    file = next(run.folder.glob(f"seed*/*/{DONE}"), None)
    return file is not None and "probe" in read_json(file)


def _answers(competition: Competition, run: Run, held: HeldOut) -> np.ndarray | None:
    """What a run answers to these rows, if it is a probe that held out every one of them."""
    try:
        if not _fitted(run) or not is_probe(run):
            return None
        if read_json(run.folder / run_config.RECORD).get("folds") != competition.folds.hash:
            return None
        count, wanted = competition.folds.count, set(held.folds.tolist())
        seeds = [seed for seed in trained_seeds(run, count) if wanted <= set(run.finished_folds(seed, count))]
        members = [Member(seed, fold, run.member(seed, fold)) for seed in seeds for fold in sorted(wanted)]
        return held_out_answers(competition, StoredTables(competition, run), members, PLAIN, held) if members else None
    except Problem:
        return None  # of other rows or classes, or damaged: its own page tells
