"""What the runs of a sweep came to, read from their folders: scores, curves, and each class."""

from dataclasses import astuple, dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.competition.competition import Competition, open_competition
from src.competition.labels import test_answers
from src.core.console import silenced
from src.core.errors import Problem
from src.core.files import read_json, undefused
from src.core.paths import DONE, Run
from src.evaluation.bootstrap import gains, picked
from src.evaluation.held_out import HeldOut
from src.experiments.sweep_plan import Cell, Plan
from src.inference.logits_store import StoredTables, aligned, load_logits, logits_file
from src.inference.trained_networks import Member
from src.metrics import Metric, Rows, metric, metrics_for
from src.reporting.comparison_table import Outcomes
from src.reporting.probe_floor import ProbeFloor, probe_floor
from src.reporting.run_results import log_of
from src.training.logs import SIGNAL
from src.training.rare_class_scores import rarity_scores


def result_of(competition: str, name: str, folder: Path) -> dict[str, Any]:
    """What a sweep wrote into its folder, a dictionary a run."""
    table = pd.read_csv(folder / "summary.csv").map(lambda cell: undefused(cell) if isinstance(cell, str) else cell)
    runs = table.rename(columns=undefused).to_dict("records")
    return {"competition": competition, "sweep": name, "folder": folder, "runs": runs}


@dataclass(frozen=True)
class Reading:
    """One run. rows: (n,) of its own training table that its folds held out, fold after fold; ids: of these, text.

    probabilities: (n, classes), the mean over seeds. members, curves: one line a fold and seed, or an epoch of one.
    shown, right: (classes,) how many held-out images of each class there were, once a seed, and how many of them were
    recognised. confusion: (classes, classes) of them by truth and answer; None where an image may have several classes.
    """

    competition: Competition
    rows: np.ndarray
    probabilities: np.ndarray
    members: list[dict[str, Any]]
    curves: list[pd.DataFrame]
    shown: np.ndarray
    right: np.ndarray
    confusion: np.ndarray | None

    @property
    def ids(self) -> np.ndarray:
        return self.competition.samples.train["id"].to_numpy()[self.rows]


def outcomes_of(plan: Plan, cells: tuple[Cell, ...]) -> Outcomes:
    """Of runs that are trained. Raises Problem where their folders do not hold what they should.

    Runs on one fold table are scored on the images that every one of them held out: one that ignores wrong labels must
    not win by being spared them.
    """
    runs = [Run(plan.competition, cell.request.run) for cell in cells]
    with silenced():
        every = [open_competition(c.request.config, run) for c, run in zip(cells, runs, strict=True)]
    shared = _shared(every)
    readings = [_read(cell, run, own, shared) for cell, run, own in zip(cells, runs, every, strict=True)]
    opened, labels = every[0], [cell.label for cell in cells]
    members = pd.DataFrame([member for reading in readings for member in reading.members])
    means = members.groupby("label", sort=False)[opened.metric.name].mean(skipna=False)
    together = _together(readings, labels) if len(cells[0].request.seeds) > 1 else None
    if together:  # as gains and the pick are of the answers together, so is the best
        means = pd.Series(together)
    merits = (means if opened.metric.higher_is_better else -means).fillna(-np.inf)
    best = labels.index(merits.idxmax())
    rows = readings[0].shown // len(cells[0].request.seeds)
    there = rows.any()  # else the outputs are no classes
    per_class = pd.DataFrame({"class": opened.samples.classes, "rows": rows}) if there else None
    for label, reading in zip(labels, readings, strict=True) if there else ():
        with np.errstate(invalid="ignore"):  # a class that no fold held out has no share
            per_class[label] = reading.right / reading.shown
    return Outcomes(
        metric=opened.metric.name,
        higher_is_better=opened.metric.higher_is_better,
        axes=plan.axes,
        cells=pd.DataFrame([{"label": cell.label} | cell.values for cell in cells]),
        best=labels[best],
        members=members,
        curves=pd.concat([curve for reading in readings for curve in reading.curves], ignore_index=True),
        per_class=per_class,
        confusions=_confusions(readings, labels) if there else None,
        gains=_gains(readings, labels, best),
        pick=_pick(readings),
        floor=_floor(readings, tuple(run.name for run in runs)),
        together=together,
    )


def _confusions(readings: list[Reading], labels: list[str]) -> dict[str, np.ndarray] | None:
    if readings[0].confusion is None:
        return None
    return {label: reading.confusion for label, reading in zip(labels, readings, strict=True)}


def _shared(every: list[Competition]) -> pd.Index | None:
    """The ids that all runs hold out; None where their fold tables differ, and each is scored on its own."""
    if len({opened.folds.hash for opened in every}) > 1:
        return None
    held = [pd.Index(opened.samples.train["id"][opened.folds.of_row >= 0]) for opened in every]
    return reduce(pd.Index.intersection, held)


def _held_out(opened: Competition, fold: int | str, shared: pd.Index | None) -> np.ndarray:
    rows = opened.folds.rows(fold)[1]
    if shared is not None:
        rows = rows[opened.samples.train["id"].iloc[rows].isin(shared).to_numpy()]
    if not len(rows):
        raise Problem(
            f"there is no image in fold {fold} that every run holds out: let data.ignore leave some",
            code="no-shared-rows",
        )
    return rows


def _read(cell: Cell, run: Run, opened: Competition, shared: pd.Index | None) -> Reading:
    request = cell.request
    members, curves, rows, tables = [], [], [], []
    right = shown = np.zeros(len(opened.samples.classes), dtype=int)
    confusion = np.zeros((len(right), len(right)), dtype=int) if opened.target.one_class else None
    test = _test_rows(opened)
    for fold in request.folds or range(opened.folds.count):
        held_out = _held_out(opened, fold, shared)
        trained = opened.samples.counts_in(opened.folds.rows(fold)[0])
        truth, answers = opened.samples.targets[held_out], []
        for seed in request.seeds:
            logits = _logits(opened, run, seed, fold, held_out)
            answers.append(opened.target.predictions(logits))
            decided = opened.target.decide_logits(logits)
            counts = opened.target.recognised(truth, decided, len(right))
            if confusion is not None:
                np.add.at(confusion, (truth, decided), 1)
            shown, right = shown + counts[0], right + counts[1]
            log = log_of(run.member(seed, fold))
            named = {"label": cell.label, "run": run.name, "seed": seed, "fold": fold, "rows": len(held_out)}
            curves.append(log.assign(**named))
            scores = _scores(opened, truth, logits, answers[-1], trained, opened.rows.at(held_out))
            if confusion is not None:
                scores["answers"] = len(np.unique(decided))
            if test is not None:
                scores |= _test_score(opened, run, Member(seed, fold, run.member(seed, fold)), *test)
            members.append(named | scores | _cost(opened, run, seed, fold, log))
        rows.append(held_out)
        tables.append(np.mean(answers, axis=0))
    return Reading(opened, np.concatenate(rows), np.concatenate(tables), members, curves, shown, right, confusion)


def _test_rows(opened: Competition) -> tuple[np.ndarray, np.ndarray] | None:
    """The ids and the targets of the test rows; None where the card does not know them."""
    ids = opened.samples.test["id"].to_numpy()
    truth = test_answers(opened.card, opened.samples.classes, ids)
    return None if truth is None else (ids, truth)


def _test_score(
    opened: Competition, run: Run, one: Member, ids: np.ndarray, truth: np.ndarray
) -> dict[str, float | None]:
    """What the last weights score on the test rows, one view; None until the run has predicted."""
    tables, name = StoredTables(opened, run), f"test_{opened.metric.name}"
    images, size = opened.config.images, opened.config.predict.size
    tables.size = size if size != images.size else None
    if not tables.file(one, "test", "identity").exists():
        return {name: None}
    answers = opened.target.predictions(tables.read(one, "test", "identity", ids))
    return {name: opened.metric.score(truth, answers, rows=Rows(ids, ids))}


def _logits(opened: Competition, run: Run, seed: int, fold: int | str, rows: np.ndarray) -> np.ndarray:
    file = logits_file(run.member(seed, fold), "oof", "identity", None)
    return aligned(load_logits(file, opened.samples.classes), opened.samples.train["id"].to_numpy()[rows], file)


def _scores(
    opened: Competition, truth: np.ndarray, logits: np.ndarray, answers: np.ndarray, trained: np.ndarray, rows: Rows
) -> dict[str, float]:
    target = opened.target
    text = {"accuracy": metric("accuracy", target)} if "accuracy" in metrics_for(target) else {}
    scores = {
        name: one.score(truth, answers, rows=rows) for name, one in (text | {opened.metric.name: opened.metric}).items()
    }
    rare = rarity_scores(truth, answers, trained, target)
    return scores | rare | {"held_out_loss": target.plain_loss(truth, logits)}


def _cost(opened: Competition, run: Run, seed: int, fold: int | str, log: pd.DataFrame) -> dict[str, Any]:
    """The time a fold took, and how it scored the rows it was trained on at the epoch that was kept."""
    done = read_json(run.member(seed, fold) / DONE)
    kept = log.iloc[done["best_epoch"] - 1 if opened.config.train.keep == "best" else -1]
    seen = {f"train_{opened.metric.name}": kept.get("train_score"), "train_loss": kept.get("train_loss")}
    device = read_json(run.folder / "machine.json")["device"]
    seen |= {name: kept[name] for name in SIGNAL if name in kept}
    return seen | {"epochs": done["epochs"], "seconds": done["seconds"], "device": device}


def _together(readings: list[Reading], labels: list[str]) -> dict[str, float]:
    """What the seeds' mean probabilities score: {label: score}."""
    scores = {}
    for label, reading in zip(labels, readings, strict=True):
        metric, truth, _, rows = _truth(reading)
        scores[label] = metric.score(truth, reading.probabilities, rows=rows)
    return scores


def _comparable(readings: list[Reading]) -> bool:
    """Whether there are several, and all on the same images."""
    return len(readings) > 1 and all(np.array_equal(reading.ids, readings[0].ids) for reading in readings)


def _gains(readings: list[Reading], labels: list[str], best: int) -> pd.DataFrame | None:
    """How much better than the best run each other one is on the same images; None where they are not the same."""
    if not _comparable(readings):
        return None
    first, others = readings[best], [i for i in range(len(readings)) if i != best]
    metric, truth, groups, rows = _truth(first)
    tables = [(readings[i].probabilities, None) for i in others]
    found = gains(metric, truth, (first.probabilities, None), tables, groups, rows=rows)
    table = pd.DataFrame([(one.value, one.low, one.high) for one in found], columns=["gain", "low", "high"])
    return table.assign(label=[labels[i] for i in others])


def _pick(readings: list[Reading]) -> tuple[float, float, float] | None:
    """What the best run scores on images that did not pick it; None where the runs stand on different ones."""
    if not _comparable(readings):
        return None
    metric, truth, groups, rows = _truth(readings[0])
    answers = [(reading.probabilities, None) for reading in readings]
    return astuple(picked(metric, truth, answers, groups, rows=rows))


def _floor(readings: list[Reading], runs: tuple[str, ...]) -> ProbeFloor | None:
    """Of the images that all runs held out; None where these are not the same, and where a run is a probe itself."""
    if not (len(readings) == 1 or _comparable(readings)) or any(one.competition.config.only_probe for one in readings):
        return None
    first, opened = readings[0], readings[0].competition
    metric, truth, groups, known = _truth(first)
    held = HeldOut(metric, first.ids, truth, opened.folds.of_row[first.rows], groups, known.weights)
    return probe_floor(opened, held, runs)


def _truth(reading: Reading) -> tuple[Metric, np.ndarray, np.ndarray, Rows]:
    """The metric, the targets of a reading's rows, the groups that they are drawn in, and what is known of them."""
    samples, known = reading.competition.samples, reading.competition.rows.at(reading.rows)
    return reading.competition.metric, samples.targets[reading.rows], known.groups, known
