"""One prediction command: views, folds and seeds become out-of-fold scores and a checked submission."""

from pathlib import Path

import numpy as np

from src.competition.labels import test_answers
from src.config.request import Request
from src.core.console import log, note
from src.core.errors import UsageError
from src.evaluation.boosted_columns import ColumnsChoice
from src.evaluation.decision_choice import DecisionChoice
from src.inference.columns_beside import beside_test, chosen_columns, to_json
from src.inference.ensemble import predict_ensemble
from src.inference.likely_metrics import format_scores, likely_metrics
from src.inference.provenance import Score, submit_command, write_facts
from src.inference.run_predictions import RunAnswers, open_run, teacher_logits
from src.inference.score_table import OVERALL, Line, score_line, score_lines, score_table
from src.inference.test_predictions import chosen_decision, test_answer, write_answers
from src.inference.tta import PLAIN
from src.metrics import Rows


def predict(request: Request) -> Path:
    """Write the submission of a run, or of several joined, and return its path.

    Raises UsageError where a run does not exist, or its folds cannot answer what is asked for; Problem where weights,
    stored logits or images are damaged or have changed, or where a network does not fit into memory.
    """
    return predict_ensemble(request) if request.runs else predict_run(request)


def predict_run(request: Request) -> Path:
    """Write the submission of one run and return its path."""
    one = teacher_logits(request, *open_run(request))
    competition, oof = one.competition, one.oof
    log.info(str(one))
    lines = score_lines(competition, oof) if oof else []
    if not oof:
        note("no-score", "no out-of-fold score: a model of fold=all has seen every training row")
    likely = likely_metrics(competition)
    columns = chosen_columns(competition, oof.held, oof.tta) if oof else None
    answers, shift = (columns.answer if columns else oof.tta, one.shift()) if oof else (None, None)
    if columns and columns.taken:
        shift = None  # the trees learned from the rows as they are
        _refuse_export(request)
    choice = chosen_decision(competition, oof.held, answers, shift) if oof else None
    score = _score(lines, columns, choice)
    if choice:
        likely, choice = likely.calibrate(choice, oof.held, answers, shift)
    scores = likely.scores(oof.held, choice.answer if choice else (answers, None)) if oof else {}
    join = beside_test(competition, columns, lambda tables: tables[one.run.name])
    answer = test_answer([one], join, choice.decision if choice else None)
    if columns:
        trees = columns.trees
        lines.append(Line("with columns, nested", len(oof.held.id), trees.score, trees.score, trees.interval))
    lines += _leaderboard(one, answer[0] if columns and columns.taken else None)
    if lines:
        log.info(score_table(competition, lines, len(one.views)))
    if choice and len(choice.comparison.candidates) > 1:
        log.info("\n".join(choice.comparison.lines))
    if scores:
        log.info(format_scores(scores))
    file = write_answers(competition, one.run.name, one.test_ids, answer)
    folder = one.run.folder / "predictions"
    beside = to_json(competition, columns) if columns else None
    write_facts(file, folder, [one], score, choice.decision if choice else None, likely=scores, metadata=beside)
    log.info(submit_command(competition, file))
    return file


def _refuse_export(request: Request) -> None:
    if "--export" in request.flags:
        raise UsageError(
            "--export writes networks alone, and boosted trees over the columns beside the pictures answer better: "
            "export the networks without them, predict.metadata=none",
            code="export-metadata",
        )


def _leaderboard(one: RunAnswers, with_columns: np.ndarray | None) -> list[Line]:
    """The score that a leaderboard would show, where the answers are at hand. Printed, never used to choose.

    with_columns: (rows, outputs) what the columns beside the pictures made of the answers, where they are taken.
    """
    truth = test_answers(one.competition.card, one.competition.samples.classes, one.test_ids)
    if truth is None:
        return []
    competition, rows = one.competition, Rows(one.test_ids, one.test_ids)
    lines = [score_line(competition, "test, answers known", truth, one.test(PLAIN), one.test(), rows)]
    if with_columns is not None:
        lines.append(score_line(competition, "the same, with columns", truth, with_columns, with_columns, rows))
    return lines


def _score(lines: list[Line], columns: ColumnsChoice | None, choice: DecisionChoice | None) -> Score | None:
    """The out-of-fold score and its interval: of what was fitted nested, each fold by what was fitted on the others."""
    fitted = choice or (columns if columns and columns.taken else None)
    if fitted:
        return fitted.comparison.candidate.score, *fitted.comparison.candidate.interval
    overall = next((line for line in lines if line.name == OVERALL), None)
    return (overall.tta, *overall.interval) if overall else None
