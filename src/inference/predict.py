"""One prediction command: views, folds and seeds become out-of-fold scores and a checked submission."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.command import ALL, Request
from src.competition.claim import hold
from src.competition.folds import units_of
from src.competition.opened import Opened, open_competition
from src.errors import Problem, UsageError
from src.inference.ensemble import mean_probabilities
from src.inference.intervals import bootstrap_interval
from src.inference.members import Member, ViewTables, trained_members
from src.inference.views import view_names
from src.runs import Run, read_json, runs_folder, sha256_of, submissions_folder, write_json
from src.submission.table import answers, write_submission

Say = Callable[[str], None]
PLAIN = ("identity",)
OVERALL = "out of fold"


@dataclass(frozen=True)
class Line:
    """One line of the score table: without and with TTA, and for the latter the interval where it was computed."""

    name: str
    rows: int
    plain: float
    tta: float
    interval: tuple[float, float] | None = None


def predict(request: Request, say: Say = print) -> Path:
    """Write the submission of a run and return its path. See the doors for errors."""
    run = Run(request.competition, request.run)
    if not (run.folder / "run.json").exists():
        raise UsageError(
            f"run {run.name} of {run.competition} does not exist yet: train it first, "
            f"python -m src.train with the same words"
        )
    views = view_names(request.config.predict.views) if "--tta" in request.flags else PLAIN
    opened = open_competition(request.config, run, say)
    hold(run, opened)
    if opened.card.submission is None:
        raise UsageError(f"{opened.card.id} has no test images, so there is nothing to predict; train tells its scores")
    members = trained_members(run, request)
    tables = ViewTables(opened, run, say)
    tables.ensure(members, tuple(dict.fromkeys(PLAIN + views)))
    say(f"{run.name}: {_told(members)}, views {', '.join(views)}")
    lines = out_of_fold(opened, tables, members, views)
    test_ids = opened.samples.test["id"].to_numpy()
    plain, tta = (_test_probabilities(opened, tables, members, names, test_ids) for names in (PLAIN, views))
    lines += _leaderboard(opened, test_ids, plain, tta)
    say(_score_table(opened, lines, len(views)))
    table = answers(opened.card, opened.samples, *_every_row(opened, test_ids, tta))
    file = write_submission(table, opened.card, opened.samples, submissions_folder(run.competition), run.name)
    _write_facts(file, opened, run, members, views, lines)
    say(f"{file}: {len(table)} rows, checked against {opened.card.submission.sample or 'the list of test images'}")
    say(_how_to_submit(opened, file))
    return file


def out_of_fold(opened: Opened, tables: ViewTables, members: list[Member], views: tuple[str, ...]) -> list[Line]:
    """Scores of the held-out rows, each answered by the models that never saw it: per fold, then over all folds."""
    lines, held_out, truth, plain, tta = [], [], [], [], []
    for fold in sorted({m.fold for m in members if m.fold != ALL}):
        _, rows = opened.folds.rows(fold)
        ids = opened.samples.train["id"].to_numpy()[rows]
        here = [m for m in members if m.fold == fold]
        held_out.append(rows)
        truth.append(opened.samples.targets[rows])
        plain.append(_probabilities(opened, tables, here, "oof", PLAIN, ids))
        tta.append(_probabilities(opened, tables, here, "oof", views, ids))
        lines.append(_line(opened, f"fold {fold}", truth[-1], plain[-1], tta[-1]))
    if lines:
        overall = _line(opened, OVERALL, *map(np.concatenate, (truth, plain, tta)))
        units = units_of(opened.samples.train)[np.concatenate(held_out)]
        interval = bootstrap_interval(opened.metric, np.concatenate(truth), np.concatenate(tta), units)
        lines.append(replace(overall, interval=interval))
    return lines


def _test_probabilities(
    opened: Opened, tables: ViewTables, members: list[Member], views: tuple[str, ...], ids: np.ndarray
) -> np.ndarray:
    return _probabilities(opened, tables, members, "test", views, ids)


def _probabilities(
    opened: Opened, tables: ViewTables, members: list[Member], part: str, views: tuple[str, ...], ids: np.ndarray
) -> np.ndarray:
    logits = [tables.read(member, part, view, ids) for member in members for view in views]
    return mean_probabilities(logits, opened.card.target)


def _every_row(opened: Opened, ids: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows without a usable image are answered too, from the classes' shares."""
    absent = list(opened.samples.test_without_image)
    shares = np.tile(opened.samples.shares, (len(absent), 1))
    return np.append(ids, absent), np.vstack([probabilities, shares]) if absent else probabilities


def _line(opened: Opened, name: str, truth: np.ndarray, plain: np.ndarray, tta: np.ndarray) -> Line:
    return Line(name, len(truth), opened.metric.score(truth, plain), opened.metric.score(truth, tta))


def _leaderboard(opened: Opened, ids: np.ndarray, plain: np.ndarray, tta: np.ndarray) -> list[Line]:
    """The score that a leaderboard would show, where the answers are at hand. Printed, never used to choose."""
    if opened.card.test_labels is None:
        return []
    table = pd.read_csv(opened.card.folder / opened.card.test_labels, dtype=str, keep_default_na=False)
    labels = table.set_index(table.columns[0]).iloc[:, 0].reindex(ids)
    truth = pd.Index(opened.samples.classes).get_indexer(labels)
    if (truth < 0).any():
        raise Problem(
            f"{opened.card.test_labels} has no known class for test id {ids[truth < 0][0]!r}: "
            f"mend it, or drop test_labels from the card"
        )
    return [_line(opened, "test, its answers kept apart", truth, plain, tta)]


def _score_table(opened: Opened, lines: list[Line], views: int) -> str:
    if not lines:
        return "no out-of-fold score: a model of fold=all has seen every training row"
    with_tta = f"{f'TTA of {views}':>12s}" if views > 1 else ""
    head = f"{opened.metric.name:30s} {'rows':>7s} {'plain':>9s}{with_tta}"
    body = []
    for line in lines:
        tta = f"{line.tta:12.4f}" if views > 1 else ""
        interval = f"   95 % interval {line.interval[0]:.4f} to {line.interval[1]:.4f}" if line.interval else ""
        body.append(f"{line.name:30s} {line.rows:7d} {line.plain:9.4f}{tta}{interval}")
    return "\n".join([head, *body])


def _told(members: list[Member]) -> str:
    folds = sorted({str(m.fold) for m in members})
    seeds = sorted({m.seed for m in members})
    models = "one model" if len(members) == 1 else f"{len(members)} models"
    return f"{models} (fold {', '.join(folds)}" + (f"; seeds {', '.join(map(str, seeds))})" if len(seeds) > 1 else ")")


def _write_facts(
    file: Path,
    opened: Opened,
    run: Run,
    members: list[Member],
    views: tuple[str, ...],
    lines: list[Line],
) -> None:
    """Beside the run: where this submission came from, for the ledger."""
    overall = next((line for line in lines if line.name == OVERALL), None)
    low, high = overall.interval if overall else (None, None)
    facts: dict[str, Any] = {
        "file": file.name,
        "sha256": sha256_of(file),
        "runs": [run.name],
        "seeds": sorted({m.seed for m in members}),
        "folds": sorted({str(m.fold) for m in members}),
        "views": list(views),
        "metric": opened.metric.name,
        "score": {"value": overall.tta if overall else None, "low": low, "high": high},
        "config_hash": opened.config.hash(),
        "commit": read_json(run.folder / "run.json")["commit"],
    }
    write_json(runs_folder(run.competition) / run.name / "predictions" / f"{file.stem}.json", facts)


def _how_to_submit(opened: Opened, file: Path) -> str:
    card = opened.card
    if card.embedded:
        return f"{card.id} is no Kaggle competition; a rehearsal of the push: python -m src.submit {file} --dry-run"
    if card.kaggle is None:
        return (
            f"to push it, write the competition's name at Kaggle into competition/{card.id}/card.yaml (kaggle: NAME), "
            f"then: python -m src.submit {file}"
        )
    return f"to push it, wait for its score and note it: python -m src.submit {file}"
