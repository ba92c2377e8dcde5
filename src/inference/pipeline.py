"""One prediction command: views, folds and seeds become out-of-fold scores and a checked submission."""

from pathlib import Path

from src.competition.labels import test_answers
from src.config.request import Request
from src.core.console import log, note
from src.evaluation.decision_choice import DecisionChoice
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
    choice = chosen_decision(competition, oof.held, oof.tta, one.shift()) if oof else None
    score = _score(lines, choice)
    if choice:
        likely, choice = likely.calibrate(choice, oof.held, oof.tta, one.shift())
    scores = likely.scores(oof.held, choice.answer if choice else (oof.tta, None)) if oof else {}
    answer = test_answer([one], lambda tables: tables[one.run.name], choice.decision if choice else None)
    lines += _leaderboard(one)
    if lines:
        log.info(score_table(competition, lines, len(one.views)))
    if choice and len(choice.comparison.candidates) > 1:
        log.info("\n".join(choice.comparison.lines))
    if scores:
        log.info(format_scores(scores))
    file = write_answers(competition, one.run.name, one.test_ids, answer)
    folder = one.run.folder / "predictions"
    write_facts(file, folder, [one], score, choice.decision if choice else None, likely=scores)
    log.info(submit_command(competition, file))
    return file


def _leaderboard(one: RunAnswers) -> list[Line]:
    """The score that a leaderboard would show, where the answers are at hand. Printed, never used to choose."""
    truth = test_answers(one.competition.card, one.competition.samples.classes, one.test_ids)
    if truth is None:
        return []
    return [
        score_line(
            one.competition,
            "test, answers known",
            truth,
            one.test(PLAIN),
            one.test(),
            Rows(one.test_ids, one.test_ids),
        )
    ]


def _score(lines: list[Line], choice: DecisionChoice | None) -> Score | None:
    """The out-of-fold score and its interval: with a decision nested, each fold by what was fitted on the others."""
    if choice:
        return choice.comparison.candidate.score, *choice.comparison.candidate.interval
    overall = next((line for line in lines if line.name == OVERALL), None)
    return (overall.tta, *overall.interval) if overall else None
