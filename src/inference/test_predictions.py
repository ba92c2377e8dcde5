"""From the answers of networks to the file that is submitted: test rows fold by fold, then every row of the sample."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from src.competition.competition import Competition
from src.competition.guesses import format_guesses
from src.core.console import log, note
from src.core.paths import submissions_folder
from src.evaluation.bootstrap import Answer
from src.evaluation.decision_choice import DecisionChoice, choose_decision
from src.evaluation.held_out import HeldOut
from src.inference.run_predictions import RunAnswers
from src.metrics.decision import Decision
from src.submission.writer import answers, write_submission

Join = Callable[[dict[str, np.ndarray]], np.ndarray]  # {run: (rows, classes)} -> (rows, classes)


def chosen_decision(
    competition: Competition, held: HeldOut, probabilities: np.ndarray, shift: np.ndarray | None
) -> DecisionChoice | None:
    """The rule that makes answers of probabilities, chosen on held-out rows; None leaves the metric's plain one."""
    if competition.config.predict.decide == "plain":
        return None
    return choose_decision(held, probabilities, shift, competition.samples.never_empty)


def same_folds(runs: list[RunAnswers]) -> bool:
    return all(set(one.folds) == set(runs[0].folds) for one in runs)


def test_answer(runs: list[RunAnswers], join: Join, decision: Decision | None) -> Answer:
    """Probabilities (n, classes) and decisions of the test rows.

    What was fitted on answers of one fold's models is applied to one fold's models, and averaged after that; where
    the runs have different folds, to the mean of each run's models.
    """
    folds = runs[0].folds if same_folds(runs) else [None]
    each = (join({one.run.name: one.test(fold=fold) for one in runs}) for fold in folds)
    sizes = [sum(fold in (None, member.fold) for one in runs for member in one.members) for fold in folds]
    if decision is None:
        return weighted_mean(each, sizes), None
    return decision.decided(weighted_mean(map(decision.changed, each), sizes))


def weighted_mean(tables: Iterable[np.ndarray], weights: list[int]) -> np.ndarray:
    """The mean of tables of one shape, as numpy.average has it, of which no more than one is held at a time."""
    return sum(map(np.multiply, tables, np.asarray(weights, np.float64))) / sum(weights)


def write_answers(competition: Competition, name: str, ids: np.ndarray, answer: Answer) -> Path:
    """Write the checked submission `name`; a file of the same bytes is kept."""
    card, samples = competition.card, competition.samples
    rows = answers(card, samples, *_every_row(competition, ids, answer))
    file = write_submission(rows, card, samples, submissions_folder(card.id), name)
    log.info(f"{file}: {len(rows)} rows, checked against {card.submission.sample or 'the list of test images'}")
    for line in format_guesses(card):
        note("guess", line)
    return file


def _every_row(
    competition: Competition, ids: np.ndarray, answer: Answer
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Rows without a usable image are answered too, from the classes' shares."""
    shown, decisions = answer
    absent = list(competition.samples.test_without_image)
    if not absent:
        return ids, shown, decisions
    shares = np.tile(competition.samples.shares, (len(absent), 1))
    if decisions is not None:
        decisions = np.concatenate([decisions, competition.target.guess(shares)])
    return np.append(ids, absent), np.vstack([shown, shares]), decisions
