"""What teaching brought: the teacher's score before and the student's after, on rows that neither has seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from src.competition.folds import units_of
from src.competition.opened import Opened
from src.inference.store import load_logits, logits_file
from src.judging.intervals import difference_told, paired_difference
from src.runs import DONE, Run, read_json
from src.training.evaluate import stored_answers

if TYPE_CHECKING:
    from src.training.lesson import Lesson


def taught_by(lesson: Lesson) -> dict[str, Any]:
    """For done.json: which model taught, and how many test images were learned from, how sure it was of them."""
    facts = {**lesson.meta, "test_images": len(lesson.taken)}
    return facts | ({"median_sure": round(float(np.median(lesson.sure[lesson.taken])), 4)} if len(lesson.taken) else {})


def say_before_and_after(
    opened: Opened, run: Run, seeds: tuple[int, ...], folds: list[int], say: Callable[[str], None]
) -> None:
    """Teacher against student over these finished folds; nothing is said of a run without a teacher.

    Where the teacher was deleted or trained anew since, that is said: it is no longer the one that taught.
    """
    if opened.config.teach.run is None:
        return
    members = {(seed, fold): read_json(run.member(seed, fold) / DONE)["teacher"] for fold in folds for seed in seeds}
    teacher, changed = Run(run.competition, opened.config.teach.run), []
    for (_, fold), facts in members.items():
        done = teacher.member(facts["seed"], fold) / DONE
        if not done.exists() or read_json(done)["weights"] != facts["weights"]:
            changed.append(fold)
    if changed:
        say(f"fold {changed[0]} of {teacher.name} is not the teacher any more that it was: no score before and after")
        return
    before, after, held_out, fewest = [], [], [], len(seeds)
    for fold in folds:
        taught = tuple(sorted({members[seed, fold]["seed"] for seed in seeds}))
        held_out.append(_shared(opened, teacher, taught[0], fold))
        before.append(stored_answers(opened, teacher, taught, fold, held_out[-1]))
        after.append(stored_answers(opened, run, seeds, fold, held_out[-1]))
        fewest = min(fewest, len(taught))
    rows = np.concatenate(held_out)
    truth, units = opened.samples.targets[rows], units_of(opened.samples.train)[rows]
    tables = np.concatenate(before), np.concatenate(after)
    scores = [opened.metric.score(truth, table) for table in tables]
    gain = paired_difference(opened.metric, truth, *tables, units)
    say(
        f"{opened.metric.name} out of fold of the teacher {scores[0]:.4f}, of the student {scores[1]:.4f}, on the same "
        f"{len(rows)} rows: {difference_told(f'the teacher ({teacher.name})', f'the student ({run.name})', gain)}"
    )
    if fewest < len(seeds):
        say(
            f"note: the student's answers are the mean over {len(seeds)} seeds, the teacher's over {fewest}: some of "
            f"the difference comes from that"
        )


def _shared(opened: Opened, teacher: Run, seed: int, fold: int) -> np.ndarray:
    """The rows that this fold holds out here and there: what data.ignore names may differ."""
    rows = opened.folds.rows(fold)[1]
    file = logits_file(teacher.member(seed, fold), "oof", "identity", None)
    known = load_logits(file, opened.samples.classes).id
    return rows[np.isin(opened.samples.train["id"].to_numpy()[rows].astype(str), known)]
