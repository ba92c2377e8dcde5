"""One prediction command: views, folds and seeds become out-of-fold scores and a checked submission."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from src.command import Request
from src.competition.claim import hold
from src.competition.labels import test_answers
from src.competition.opened import Opened, open_competition
from src.errors import UsageError
from src.images.samplers import row_weights
from src.inference.decide import DecisionChoice, choose_decision, prior_shift
from src.inference.decision import Decision
from src.inference.intervals import Answer
from src.inference.members import Member, ViewTables, trained_members
from src.inference.scores import (
    OVERALL,
    PLAIN,
    Line,
    OutOfFold,
    out_of_fold,
    probabilities,
    score_line,
    score_lines,
    score_table,
)
from src.inference.views import view_names
from src.runs import Run, read_json, runs_folder, sha256_of, submissions_folder, write_json
from src.submission.check import never_empty
from src.submission.table import answers, write_submission

Say = Callable[[str], None]


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
    oof = out_of_fold(opened, tables, members, views)
    lines = score_lines(opened, oof) if oof else []
    if not oof:
        say("no out-of-fold score: a model of fold=all has seen every training row")
    choice = _decision(opened, oof, say)
    test_ids = opened.samples.test["id"].to_numpy()
    answer = _test_answer(opened, tables, members, views, choice.decision if choice else None, test_ids)
    lines += _leaderboard(opened, tables, members, views, test_ids)
    if lines:
        say(score_table(opened, lines, len(views)))
    if choice and len(choice.verdict.ways) > 1:
        say("\n".join(choice.verdict.lines))
    table = answers(opened.card, opened.samples, *_every_row(opened, test_ids, answer))
    file = write_submission(table, opened.card, opened.samples, submissions_folder(run.competition), run.name)
    _write_facts(file, opened, run, members, views, lines, choice)
    say(f"{file}: {len(table)} rows, checked against {opened.card.submission.sample or 'the list of test images'}")
    say(_how_to_submit(opened, file))
    return file


def _decision(opened: Opened, oof: OutOfFold | None, say: Say) -> DecisionChoice | None:
    """The rule that makes answers of probabilities, chosen on held-out rows; None leaves the metric's plain one."""
    config = opened.config
    if oof is None or config.predict.decide == "plain":
        return None
    shift = None
    if config.data.sampler == "weighted" and not config.train.stages:
        targets = opened.samples.targets
        weights = row_weights(targets, config.data.sampler_exponent)
        shift = prior_shift(targets, weights, len(opened.samples.classes))
    return choose_decision(oof.held, oof.tta, shift, never_empty(opened.samples))


def _test_answer(
    opened: Opened,
    tables: ViewTables,
    members: list[Member],
    views: tuple[str, ...],
    decision: Decision | None,
    ids: np.ndarray,
) -> Answer:
    """Probabilities (n, classes) and decisions of the test rows.

    What was fitted on answers of one fold's models is applied to one fold's models, and averaged after that.
    """
    if decision is None:
        return probabilities(opened, tables, members, views, "test", ids), None
    of_fold = [[m for m in members if m.fold == fold] for fold in dict.fromkeys(m.fold for m in members)]
    each = [probabilities(opened, tables, here, views, "test", ids) for here in of_fold]
    sizes = [len(here) for here in of_fold]
    return decision.decided(np.average([decision.changed(p) for p in each], axis=0, weights=sizes))


def _every_row(opened: Opened, ids: np.ndarray, answer: Answer) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Rows without a usable image are answered too, from the classes' shares."""
    shown, decisions = answer
    absent = list(opened.samples.test_without_image)
    if not absent:
        return ids, shown, decisions
    shares = np.tile(opened.samples.shares, (len(absent), 1))
    if decisions is not None:
        likeliest = shares.argmax(1)
        several = decisions.ndim == 2
        decisions = np.concatenate(
            [decisions, np.eye(shares.shape[1], dtype=bool)[likeliest] if several else likeliest]
        )
    return np.append(ids, absent), np.vstack([shown, shares]), decisions


def _leaderboard(
    opened: Opened, tables: ViewTables, members: list[Member], views: tuple[str, ...], ids: np.ndarray
) -> list[Line]:
    """The score that a leaderboard would show, where the answers are at hand. Printed, never used to choose."""
    truth = test_answers(opened.card, opened.samples, ids)
    if truth is None:
        return []
    plain, tta = (probabilities(opened, tables, members, names, "test", ids) for names in (PLAIN, views))
    return [score_line(opened, "test, its answers kept apart", truth, plain, tta)]


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
    choice: DecisionChoice | None,
) -> None:
    """Beside the run: where this submission came from, for the ledger."""
    overall = next((line for line in lines if line.name == OVERALL), None)
    low, high = overall.interval if overall else (None, None)
    value = overall.tta if overall else None
    if choice:  # nested: each fold by what was fitted on the others
        taken = next(way for way in choice.verdict.ways if way.name == choice.verdict.taken)
        value, (low, high) = taken.score, taken.interval
    facts: dict[str, Any] = {
        "file": file.name,
        "sha256": sha256_of(file),
        "runs": [run.name],
        "seeds": sorted({m.seed for m in members}),
        "folds": sorted({str(m.fold) for m in members}),
        "views": list(views),
        "size": opened.config.predict.size or opened.config.images.size,
        "decision": choice.decision.to_json() if choice else None,
        "metric": opened.metric.name,
        "score": {"value": value, "low": low, "high": high},
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
