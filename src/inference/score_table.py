"""Scores of held-out and of labelled test rows, without and with TTA, as numbers and as the table that is printed."""

from dataclasses import dataclass

import numpy as np

from src.competition.competition import Competition
from src.competition.folds import units_of
from src.evaluation.averaging import mean_predictions
from src.evaluation.bootstrap import bootstrap_interval, format_interval
from src.evaluation.held_out import HeldOut
from src.inference.logits_store import StoredTables
from src.inference.trained_networks import Member
from src.metrics import Rows

OVERALL = "out of fold"


@dataclass(frozen=True)
class Line:
    """One line of the score table: without and with TTA, and for the latter the interval where it was computed."""

    name: str
    rows: int
    plain: float
    tta: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class OutOfFold:
    """Rows that some fold held out, (n,) each; plain and tta: (n, classes), from the models that never saw them.

    Where the views were chosen on these rows, each fold is answered in `tta` by views that were chosen on the others.
    """

    held: HeldOut
    plain: np.ndarray
    tta: np.ndarray


def probabilities(
    competition: Competition,
    tables: StoredTables,
    members: list[Member],
    views: tuple[str, ...],
    part: str,
    ids: np.ndarray,
) -> np.ndarray:
    """(len(ids), classes): the mean over members and views."""
    logits = (tables.read(member, part, view, ids) for member in members for view in views)
    return mean_predictions(logits, competition.target)


def held_out(competition: Competition, folds: list[int]) -> HeldOut:
    """The rows that these folds hold out, fold by fold."""
    samples, parts = competition.samples, [competition.folds.rows(fold)[1] for fold in folds]
    rows, of_row = np.concatenate(parts), np.repeat(folds, [len(part) for part in parts])
    ids, units = samples.train["id"].to_numpy()[rows], units_of(samples.train)[rows]
    weights = None if samples.weights is None else samples.weights[rows]
    return HeldOut(competition.metric, ids, samples.targets[rows], of_row, units, weights)


def held_out_answers(
    competition: Competition, tables: StoredTables, members: list[Member], views: tuple[str, ...], held: HeldOut
) -> np.ndarray:
    """(rows, classes) probabilities of held-out rows, each from the members of its fold."""
    parts = []
    for fold in dict.fromkeys(held.folds.tolist()):
        here = [member for member in members if member.fold == fold]
        parts.append(probabilities(competition, tables, here, views, "oof", held.id[held.folds == fold]))
    return np.concatenate(parts)


def score_lines(competition: Competition, oof: OutOfFold) -> list[Line]:
    """A line a fold, then one over all of them with its interval."""
    held = oof.held
    lines = []
    for fold in np.unique(held.folds):
        rows = held.folds == fold
        lines.append(
            score_line(
                competition, f"fold {fold}", held.targets[rows], oof.plain[rows], oof.tta[rows], held.rows.at(rows)
            )
        )
    overall = score_line(competition, OVERALL, held.targets, oof.plain, oof.tta, held.rows)
    interval = bootstrap_interval(competition.metric, held.targets, oof.tta, held.groups, rows=held.rows)
    return [*lines, Line(overall.name, overall.rows, overall.plain, overall.tta, interval)]


def score_line(
    competition: Competition, name: str, truth: np.ndarray, plain: np.ndarray, tta: np.ndarray, rows: Rows
) -> Line:
    score = competition.metric.score
    return Line(name, len(truth), score(truth, plain, rows=rows), score(truth, tta, rows=rows))


def score_table(competition: Competition, lines: list[Line], views: int) -> str:
    with_tta = f"{f'TTA of {views}':>12s}" if views > 1 else ""
    body = [f"{competition.metric.name:30s} {'rows':>7s} {'plain':>9s}{with_tta}"]
    for line in lines:
        tta = f"{line.tta:12.4f}" if views > 1 else ""
        interval = f"   95 % interval {format_interval(*line.interval)}" if line.interval else ""
        body.append(f"{line.name:30s} {line.rows:7d} {line.plain:9.4f}{tta}{interval}")
    return "\n".join(body)
