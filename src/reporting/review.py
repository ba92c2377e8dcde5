"""A review of a trained run: how unlike the test set is, and which labels look wrong, as tables and galleries."""

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.competition.competition import Competition, open_competition
from src.competition.folds import units_of
from src.competition.run_record import verify
from src.config.request import ALL, Request
from src.core.console import log, note
from src.core.errors import Problem, UsageError
from src.core.files import csv_for_people, read_json, sha256_of, write_json, write_text
from src.core.locks import only_one
from src.core.paths import Run, home
from src.evaluation.averaging import mean_predictions
from src.inference.external_runs import existing_run, is_external
from src.inference.logits_store import aligned, load_logits, logits_file
from src.inference.members import trained_members
from src.inference.trained_networks import Member
from src.reporting.adversarial_validation import FEWEST, compare_sets, drawn
from src.reporting.features import features_of
from src.reporting.gallery import MOST, Picture, write_gallery
from src.reporting.label_issues import format_label_issues, label_issues, one_line_an_image

RECORD = "review.json"


def review(request: Request) -> Path:
    """Write tables and galleries into the run's review/ folder, and return it.

    Raises UsageError where the run does not exist, was trained elsewhere or held out no row; Problem where its folds or
    weights are other ones by now; Busy where another process reviews it.
    """
    run = existing_run(request)
    if is_external(run):
        raise UsageError(
            f"run {run.name} brings logits alone, and a review needs networks: name a run trained here",
            code="run-external",
        )
    competition = open_competition(request.config, run)
    verify(run, competition)
    members = [member for member in trained_members(run, request) if member.fold != ALL]
    if not members:
        raise UsageError(
            f"run {run.name} has only the model of fold=all, which has seen every training row: a review needs rows "
            f"that were held out, python -m src.train run={run.name} fold=0..{competition.folds.count - 1}",
            code="no-held-out-rows",
        )
    folder = run.folder / "review"
    with only_one(folder, f"the review of run {run.name}"):
        record = read_json(folder / RECORD) if (folder / RECORD).exists() else {}
        record["shift"] = _unlike(competition, run, members, folder)
        write_json(folder / RECORD, record)
        file, count = _doubted(competition, members, folder, record.setdefault("written", {}))
        record["label_issues"] = count
        write_json(folder / RECORD, record)
    if count:
        log.info(_what_to_do(competition, run, file))
    return folder


def _unlike(competition: Competition, run: Run, members: list[Member], folder: Path) -> dict[str, Any] | None:
    """Compare the test rows with what one network held out: unlike.csv, unlike.png. None where nothing is compared."""
    samples, member = competition.samples, members[0]
    if competition.card.test is None:
        note(
            "no-test-images",
            f"{competition.card.id} has no test images: whether they are like the training images is left out",
        )
        return None
    held_out = drawn(competition.folds.rows(member.fold)[1])
    test = drawn(np.arange(len(samples.test)))
    what = f"fold {member.fold}'s network, its {len(held_out)} held-out images against {len(test)} test images"
    if min(len(held_out), len(test)) < FEWEST:
        note("too-few-images", f"not compared, {what}: {FEWEST} of each are the fewest that tell anything")
        return None
    features = features_of(competition, run, member, held_out, test)
    try:
        shift = compare_sets(features.held_out, features.test, units_of(samples.train)[held_out])
    except Problem as problem:  # the labels can be looked at all the same
        note("not-compared", f"not compared, {what}: {problem}")
        return None
    rows = samples.test.iloc[test[shift.unlike]]
    table = pd.DataFrame({"id": rows["id"], "suspicion": shift.suspicion.round(4), "file": _files(rows["path"])})
    write_text(folder / "unlike.csv", csv_for_people(table))
    first = zip(rows["path"], rows["id"], shift.suspicion, strict=True)
    pictures = [Picture(Path(path), (str(id_), f"{p:.2f}")) for path, id_, p in itertools.islice(first, MOST)]
    title = f"{run.name}: the test images most unlike the training images, and how surely they are told from them"
    write_gallery(folder / "unlike.png", title, pictures, competition.card.pixel_format)
    log.info(f"is the test set like the training set? {what}:")
    for line in shift.lines(samples.test["id"].to_numpy()[test]):
        log.info(f"  {line}")
    if group := competition.card.group:
        log.info(f"  which test images share a {group} is not known: few and large ones look like a shift")
    log.info(f"written to {folder}: unlike.csv, unlike.png")
    facts = {"auc": shift.auc, "low": shift.interval[0], "high": shift.interval[1], "flagged": shift.flagged}
    return facts | {"seed": member.seed, "fold": member.fold, "held_out": len(held_out), "test": len(test)}


def _doubted(
    competition: Competition, members: list[Member], folder: Path, written: dict[str, str]
) -> tuple[Path, int]:
    """Doubt the labels of every held-out row: label_issues.csv, label_issues.png. Returns the table and its length."""
    samples, place = competition.samples, folder / "label_issues.csv"
    if not competition.target.doubts_labels:
        target = competition.target
        note("no-label-issues", f"no label issues are listed for {target.name} targets: {target.no_doubts}")
        return place, 0
    rows, folds, probabilities = _held_out_answers(competition, members)
    ids = samples.train["id"].to_numpy()[rows]
    found = label_issues(ids, samples.targets[rows], probabilities, samples.classes, competition.target)
    for line in format_label_issues(found, len(rows)):
        log.info(line)
    table = one_line_an_image(found).round(4)
    paths = samples.train["path"].iloc[samples.positions(table["id"].to_numpy())]
    table["fold"] = pd.Series(folds, index=ids)[table["id"]].to_numpy()
    table["file"] = _files(paths)
    text = csv_for_people(table)
    file = _place_for(text, place, written)
    if file != place:
        note("file-kept", f"{place} was changed since a review wrote it, and is kept")
    write_text(file, text)
    written[file.name] = sha256_of(file)
    picture = file.with_suffix(".png")
    picture.unlink(missing_ok=True)
    if len(table):
        lines = zip(table["id"], "given: " + table["given"], "suggested: " + table["suggested"], strict=True)
        pictures = [
            Picture(Path(path), message) for path, message in itertools.islice(zip(paths, lines, strict=True), MOST)
        ]
        title = f"{folder.parent.name}: the labels that look wrong, the most doubtful first"
        write_gallery(picture, title, pictures, competition.card.pixel_format)
        log.info(f"written to {folder}: {file.name}, {picture.name}")
    return file, len(table)


def _held_out_answers(competition: Competition, members: list[Member]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of samples.train that were held out, the fold of each, and (rows, classes) the mean over seeds."""
    ids, target, parts = competition.samples.train["id"].to_numpy(), competition.target, []
    for fold in sorted({member.fold for member in members}):
        rows = competition.folds.rows(fold)[1]
        files = [logits_file(member.folder, "oof", "identity", None) for member in members if member.fold == fold]
        tables = [aligned(load_logits(file, competition.samples.classes), ids[rows], file) for file in files]
        parts.append((rows, np.full(len(rows), fold), mean_predictions(tables, target)))
    rows, folds, probabilities = (np.concatenate(part) for part in zip(*parts, strict=True))
    return rows, folds, probabilities


def _place_for(text: str, place: Path, written: dict[str, str]) -> Path:
    """`place`, or the same with -2, -3, ... before the suffix: the first that holds nothing a person has changed."""

    def free(file: Path) -> bool:
        return not file.exists() or sha256_of(file) == written.get(file.name) or file.read_bytes() == text.encode()

    others = (place.with_stem(f"{place.stem}-{number}") for number in itertools.count(2))
    return next(filter(free, itertools.chain([place], others)))


def _files(paths: pd.Series) -> list[str]:
    """As the home folder sees them, from where data.ignore is read too."""
    return [os.path.relpath(path, home()) for path in paths]


def _what_to_do(competition: Competition, run: Run, file: Path) -> str:
    path, known = os.path.relpath(file, home()), competition.ignored
    also = f"\nAdd the lines of {os.path.relpath(known.file, home())}, which this run ignores already." if known else ""
    return (
        f"Look at {file.with_suffix('.png').name} there, and keep the lines of {file.name} that you agree with. Then "
        f"train with the same words and data.ignore={path} run={run.name}-reviewed: these images are left out, and "
        f"every other one keeps its fold, so that both runs can be compared and blended. Where a column use says "
        f"train, an image is trained on all the same, and only not scored.{also}"
    )
