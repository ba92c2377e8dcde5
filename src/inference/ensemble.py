"""Several runs of one competition become one submission: joined by id, blended and decided on held-out rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from src.competition.competition import Competition
from src.competition.labels import test_answers
from src.config.request import Request
from src.core.console import log, note
from src.core.errors import Problem, UsageError
from src.core.paths import runs_folder
from src.evaluation.blending import BEST, PLAIN, RANKS, Blend, BlendChoice, Tables, choose_blend, plain_mean
from src.evaluation.bootstrap import Answer, fold_spread, format_difference, paired_difference
from src.evaluation.decision_choice import DecisionChoice
from src.evaluation.held_out import HeldOut, RunTable, joined, refuse_other_folds
from src.inference.columns_beside import beside_test, chosen_columns, to_json
from src.inference.likely_metrics import LikelyMetrics, format_scores, likely_metrics
from src.inference.provenance import submit_command, write_facts
from src.inference.run_predictions import RunAnswers, open_run, teacher_logits
from src.inference.score_table import held_out
from src.inference.test_predictions import chosen_decision, same_folds, test_answer, write_answers
from src.metrics import Rows


def predict_ensemble(request: Request) -> Path:
    """Write the submission of request.runs and return its path. What concerns the whole (predict.blend, .decide,
    .shared) is asked of the first run's configuration, and of the command line, which all runs share."""
    if "--export" in request.flags:
        raise UsageError("--export writes one run at a time: give run=NAME in place of runs=", code="one-run-only")
    runs = _gathered(request)
    competition = runs[0].competition
    likely, scores = likely_metrics(competition), {}
    held, tables = _held_out(runs, competition.config.predict.shared)
    blend, choice, decision, columns = plain_mean(tuple(request.runs), competition.target), None, None, None
    if held is None:
        _allow_unjudged(competition)
        note("no-score", "no out-of-fold score: models of fold=all have seen every training row")
    else:
        asked = competition.config.predict.blend
        plain = BEST if asked == "best" else PLAIN
        choice = choose_blend(held, tables, fitted=asked != "mean", ranks=not likely, plain=plain)
        blend = choice.taken
        log.info("\n".join([*choice.comparison.lines, *_spreads(held, tables, choice), *_differences(held, tables)]))
        columns = chosen_columns(competition, held, choice.answer) if choice.taken.method != RANKS else None
        choice = replace(choice, answer=columns.answer) if columns else choice
        decision, likely = _decision(runs, held, choice, likely, boosted=columns is not None and columns.taken)
        scores = likely.scores(held, decision.answer if decision else (choice.answer, None))
    if decision and len(decision.comparison.candidates) > 1:
        log.info("\n".join(decision.comparison.lines))
    if scores:
        log.info(format_scores(scores))
    if not same_folds(runs):
        note(
            "different-folds",
            "the runs have different folds, so that on the test rows what was fitted is applied to the mean answer of "
            "each run, not fold by fold",
        )
    answer = test_answer(runs, beside_test(competition, columns, blend.apply), decision.decision if decision else None)
    _say_leaderboard(runs, blend, answer)
    file = write_answers(competition, request.run, runs[0].test_ids, answer)
    judged = decision or (columns if columns and columns.taken else choice)
    score = (judged.comparison.candidate.score, *judged.comparison.candidate.interval) if judged else None
    folder = runs_folder(request.competition) / "blends" / request.run / "predictions"
    beside = to_json(competition, columns) if columns else None
    write_facts(file, folder, runs, score, decision.decision if decision else None, blend, scores, beside)
    log.info(submit_command(competition, file))
    return file


def _gathered(request: Request) -> list[RunAnswers]:
    """Each run as it is predicted alone, with its own configuration. All are checked before any is computed."""
    alone = [
        replace(request, run=name, config=config, runs=(), configs=())
        for name, config in zip(request.runs, request.configs, strict=True)
    ]
    found = [open_run(single) for single in alone]
    refuse_other_folds({run.name: competition.folds.hash for run, competition in found}, found[0][1].folds.hash)
    runs = []
    for single, (run, competition) in zip(alone, found, strict=True):
        runs.append(teacher_logits(single, run, competition))
        log.info(str(runs[-1]))
    return runs


def _held_out(runs: list[RunAnswers], shared: bool) -> tuple[HeldOut | None, Tables]:
    """The held-out rows that the runs answer, and each run's answers to them; None where no run holds out any."""
    without = [one for one in runs if one.oof is None]
    if len(without) == len(runs):
        return None, {}
    if without:
        raise Problem(
            f"run {without[0].run.name} has a model of all rows only, so no held-out row to be judged on beside the "
            f"others: train folds of it too, or leave it out of runs=",
            code="no-held-out-rows",
        )
    competition = runs[0].competition
    held = held_out(competition, sorted({fold for one in runs for fold in one.folds}))
    tables = [RunTable(one.run.name, one.competition.folds.hash, one.oof.held.id, one.oof.tta) for one in runs]
    ids, found = joined(tables, held.id, competition.folds.hash, shared)
    return held.only(ids), found


def _allow_unjudged(competition: Competition) -> None:
    if competition.config.predict.blend != "mean":
        raise UsageError(
            "models of fold=all hold out no row that a blend could be judged on: give predict.blend=mean for the "
            "plain mean, or leave fold=all out",
            code="no-held-out-rows",
        )


def _decision(
    runs: list[RunAnswers], held: HeldOut, choice: BlendChoice, likely: LikelyMetrics, boosted: bool
) -> tuple[DecisionChoice | None, LikelyMetrics]:
    """Chosen on the nested answers of the blend, to which columns may have been added (boosted). Ranks are no
    probabilities, and want no decision."""
    if choice.taken.method == RANKS:
        return None, likely
    shifts = [one.shift() for one in runs]
    # What weighted sampling shifted can be divided out of a mean only where all runs were shifted alike.
    alike = not boosted and all(shift is not None and np.array_equal(shift, shifts[0]) for shift in shifts)
    shift = shifts[0] if alike else None
    decision = chosen_decision(runs[0].competition, held, choice.answer, shift)
    if decision is None:
        return None, likely
    likely, decision = likely.calibrate(decision, held, choice.answer, shift)
    return decision, likely


def _spreads(held: HeldOut, tables: Tables, choice: BlendChoice) -> list[str]:
    """The score of each fold apart, for each run and for what joins them."""
    text = [f"{held.metric.name} over folds: mean ± standard deviation, and each fold"]
    for name, table in {**tables, choice.taken.method: choice.answer}.items():
        spread = fold_spread(held.metric, held.targets, table, held.folds, held.rows)
        deviation = f" ± {spread.deviation:.4f}" if len(spread.scores) > 1 else ""
        text.append(f"{name:30s} {spread.mean:.4f}{deviation}   {'  '.join(f'{score:.4f}' for score in spread.scores)}")
    return text


def _differences(held: HeldOut, tables: Tables) -> list[str]:
    """The best single run against each other one, on the same rows."""
    best = max(tables, key=lambda run: held.objective((tables[run], None)))
    others = [run for run in tables if run != best]
    return [
        format_difference(
            other,
            best,
            paired_difference(held.metric, held.targets, tables[other], tables[best], held.groups, rows=held.rows),
        )
        for other in others
    ]


def _say_leaderboard(runs: list[RunAnswers], blend: Blend, answer: Answer) -> None:
    """The scores that a leaderboard would show, where the answers are at hand. Printed, never used to choose."""
    competition, ids = runs[0].competition, runs[0].test_ids
    truth = test_answers(competition.card, competition.samples.classes, ids)
    if truth is None:
        return
    text = [f"{one.run.name} {competition.metric.score(truth, one.test(), rows=Rows(ids, ids)):.4f}" for one in runs]
    text.append(f"{blend.method} {competition.metric.score(truth, *answer, Rows(ids, ids)):.4f}")
    log.info(f"test, answers known, {len(ids)} rows: {competition.metric.name} {', '.join(text)}")
