"""Answer a test set that nobody has seen yet with one exported file: what a notebook does at Kaggle, internet off.

  PARTS    a folder with model.safetensors, which python -m src.predict --export wrote, and the competition's card.yaml
  DATA     the host's files, the hidden test set among them
Views are left out where the first 200 images tell that the hours would not do. The submission appears whole or not at
all.
"""

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from src.competition import templates
from src.competition.bags import BAG, ROWS, merge_rows
from src.competition.card import Card, Sheet
from src.competition.file_tree import Tree
from src.competition.row_files import Bands, with_files
from src.competition.sample_submission import sample_of
from src.competition.samples import Samples, columns_needed, ids_and_paths
from src.competition.sources.kaggle_input import competition_at, places, places_of
from src.competition.tables import read_table, source_table, values
from src.core.cli import CommandLine, Result
from src.core.console import log, note
from src.core.errors import Problem
from src.core.files import written_whole
from src.core.process import run
from src.export.export_file import Facts
from src.export.predict import Exported
from src.export.time_limit import answers_in_time
from src.submission.writer import answers, write_submission
from src.targets import target_type

MODEL = "model.safetensors"


@dataclass(frozen=True)
class HiddenTest:
    """The rows to answer: `samples` has the test rows and the sample submission, and `absent` the ids without a file.

    Of the training rows there is only what a submission is checked by: the classes, and whether each row has one.
    """

    samples: Samples
    absent: list[str]


def read_hidden(card: Card, facts: Facts) -> HiddenTest:
    """The test rows and sample submission below card.data. Raises Problem where they do not fit the card."""
    tree = Tree(card.data)
    rows = _rows(card, tree)
    if card.bag != ROWS and rows["id"].duplicated().any():
        repeated = rows["id"][rows["id"].duplicated()].iloc[0]
        raise Problem(
            f"{card.test.name}: the test id {repeated!r} stands for several images: mend the card", code="repeated-id"
        )
    lenient = card.model_copy(update={"on_bad_image": "drop"})  # what is missing is left out: each row must be answered
    held = facts.images.bands
    bands = Bands(tuple(held) if isinstance(held, list) else ())
    rows, notes = with_files(rows, card.test, tree, lenient, bands), []
    if card.bag == ROWS:
        rows, _ = merge_rows(rows, None, lenient, card.test.name, notes)
    for one in notes:
        note(one.code, one.text)
    missing = rows.pop("absent").to_numpy(bool)
    sample = sample_of(card, set(rows["id"]), rows, tuple(facts.classes))
    test = rows[~missing].reset_index(drop=True)
    root = f"{tree.root.resolve()}/"
    test["path"] = root + test["path"]
    if BAG in test:
        test[BAG] = [tuple(root + path for path in bag) for bag in test[BAG]]
    target = target_type(facts.target)
    one_row = target.stand_in(len(facts.classes), facts.never_empty)
    samples = Samples(rows[:0], test, one_row, tuple(facts.classes), sample, target)
    return HiddenTest(samples, rows["id"][missing].tolist())


def _rows(card: Card, tree: Tree) -> pd.DataFrame:
    """Columns id and path of the test rows. Where the images themselves are the list, the sample submission tells of
    those that are not there: a hidden test set shows few images, or none, before it is swapped in."""
    listed = card.test.files is not None
    if listed and not any(templates.pattern(card.test.files).fullmatch(path) for path in tree.images):
        rows = pd.DataFrame({"id": [], "path": []}, dtype=object)
    else:
        table = source_table(card.data, card.test, columns_needed(card.test), tree)
        rows = ids_and_paths(card.test, table).drop_duplicates(ignore_index=True)
    wanted = card.submission
    if not listed or wanted is None or wanted.sample is None or wanted.rows:
        return rows
    sample = read_table(card.data / wanted.sample, Sheet(separator=wanted.separator, encoding=wanted.encoding))
    ids = pd.Series(values(sample, wanted.id or sample.columns[0], wanted.sample), dtype=object)
    unseen = ids[~ids.isin(rows["id"])].drop_duplicates()
    # The path is one that no file has: find_files calls it missing.
    return pd.concat([rows, pd.DataFrame({"id": unseen, "path": ""}, dtype=object)], ignore_index=True)


def answer_hidden(exported: Exported, card: Card, seconds: float, out: Path) -> Path:
    """Write the checked submission of the hidden test set to `out`, within `seconds`.

    Rows whose image is missing or broken are answered by the classes' shares. Raises Problem.
    """
    several = bool(exported.facts.images.folders or exported.facts.images.frames)
    if bool(card.bag) != several:
        raise Problem(
            f"{exported.facts.run} was trained {'with' if several else 'without'} several images "
            f"of one answer, and the card of {card.id} says bag: {card.bag}: take the card that it was trained with",
            code="run-metadata-differs",
        )
    hidden = read_hidden(card, exported.facts)
    test, absent = hidden.samples.test, hidden.absent
    log.info(f"{card.id}: {len(test)} test images, {len(absent)} missing; {len(hidden.samples.sample)} rows to answer")
    if not len(test):
        note(
            "no-test-images",
            f"warning: NONE OF THE TEST IMAGES IS HERE. All {len(absent)} rows are answered by the classes' shares, "
            f"which is right only where the host swaps the test set in later. The card looks for {card.test.images}",
        )
    probabilities, decisions, faults = _answered(exported, _images(test), len(absent), seconds)
    ids = np.array([*test["id"], *absent], dtype=object)
    rows = answers(card, hidden.samples, ids, probabilities, decisions if _decides(exported) else None)
    with tempfile.TemporaryDirectory() as folder, written_whole(out) as file:
        shutil.copyfile(write_submission(rows, card, hidden.samples, Path(folder), out.stem), file)
    log.info(f"{out}: {len(rows)} rows, checked; {faults + len(absent)} images were missing or broken")
    return out


def _answered(
    exported: Exported, paths: list[Path | tuple[str, ...]], absent: int, seconds: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """Probabilities (n, classes) and decisions, (n,) int or (n, classes) bool, of the images or bags at `paths` and
    after them of `absent` rows without one; and how many images were broken."""
    facts = exported.facts
    classes = len(facts.classes)
    # Room for every answer, taken once: beside it there are two batches of images at a time.
    probabilities = np.empty((len(paths) + absent, classes))
    usual = target_type(facts.target).guess(np.array([facts.shares]))
    decisions = np.empty((len(probabilities), *usual.shape[1:]), usual.dtype)
    done = faults = 0
    for part in answers_in_time(exported, paths, seconds):
        rows = slice(done, done + len(part.paths))
        probabilities[rows], decisions[rows] = part.probabilities, part.decisions
        done += len(part.paths)
        faults += len(part.faults) + len(part.left_out)
        for path, reason in part.faults.items():
            note("image-broken", f"{path.name}: {reason}: answered by the classes' shares")
        for path, reason in part.left_out.items():
            note("image-broken", f"{path.name}: {reason}: left out of its bag")
    probabilities[done:], decisions[done:] = facts.shares, usual
    return probabilities, decisions, faults


def _images(test: pd.DataFrame) -> list[Path | tuple[str, ...]]:
    return test[BAG].tolist() if BAG in test else [Path(path) for path in test["path"]]


def _decides(exported: Exported) -> bool:
    """Whether the run's submission is made of decisions; else the probabilities themselves are the answer."""
    decision = exported.decision
    return decision is not None and (decision.thresholds is not None or decision.cuts is not None)


COMMAND = places("src.export.hidden_test", __doc__, out="submission.csv")


def work(line: CommandLine) -> Result:
    begun = time.monotonic()
    parts, data, hours, out = places_of(line, out="submission.csv")
    exported = Exported.open(parts / MODEL)
    facts = exported.facts
    log.info(
        f"{facts.run} of {facts.competition}: {len(facts.models)} models, views {', '.join(facts.views)}, on "
        f"{exported.engine.device} in {exported.engine.precision}"
    )
    with tempfile.TemporaryDirectory(prefix="podium-") as home:
        card = competition_at(Path(home), facts.competition, parts, data)
        left = hours * 3600 - (time.monotonic() - begun)
        answer_hidden(exported, card, left, out)
    return {"competition": facts.competition, "run": facts.run, "submission": out}


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    return COMMAND.main(work, argv)


if __name__ == "__main__":
    run(main)
