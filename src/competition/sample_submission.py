"""The sample submission: the host's file, or the list of test images where there is none; and its class columns."""

import re
from collections.abc import Iterable, Sequence

import pandas as pd

from src.competition.card import Card, Sheet, Submission
from src.competition.tables import columns_of, read_table, values
from src.competition.templates import fill
from src.core.errors import Problem


def sample_of(card: Card, test_ids: set[str], test: pd.DataFrame, classes: tuple[str, ...]) -> pd.DataFrame:
    """The sample, every cell text. Raises Problem where its ids or answers do not fit the card."""
    wanted = card.submission
    if wanted is None:
        return pd.DataFrame()
    if wanted.sample is None:
        return _listing(card, test, classes)
    sample = read_table(card.data / wanted.sample, _sheet(wanted))
    if sample.shape[1] < 2:
        raise Problem(
            f"{wanted.sample} has one column only, {sample.columns[0]!r}, when it is read with {wanted.separator!r} "
            "between its columns: mend submission.separator in the card, or take it out",
            code="one-column",
        )
    key = wanted.id or sample.columns[0]
    ids = pd.Series(values(sample, key, wanted.sample), index=sample.index, dtype=object)
    asked = card.submission_kind.asked(classes, card.target_type)
    known = set(long_ids(wanted.rows, test_ids, asked)) if wanted.rows else test_ids
    for wrong, what in (
        (ids.duplicated(), "stands there twice"),
        (~ids.isin(known), f"is no test image of {card.test.name}"),
    ):
        if wrong.any():
            line = int(wrong.to_numpy().argmax()) + 2
            raise Problem(
                f"{wanted.sample}, line {line}: id {ids[wrong].iloc[0]!r} {what} ({wrong.sum()} such rows). "
                "Mend the card or the file",
                code="bad-sample-id",
            )
    keys = [key] if key in sample else columns_of(key)
    _check_answers(card, sample.drop(columns=keys).iloc[:, -1], classes)
    return sample


def long_ids(template: str, ids: Iterable[str], outputs: Sequence[str]) -> dict[str, tuple[str, int]]:
    """The ids of a sample with a row for each image and output: of each the image's, and the number of the output.

    Raises Problem where two are written alike.
    """
    asked = [(id, number) for id in ids for number in range(len(outputs))]
    named = pd.DataFrame({"id": [id for id, _ in asked], "output": [outputs[k] for _, k in asked]}, dtype=object)
    made = fill(template, named)
    found = dict(zip(made, asked, strict=True))
    if len(found) < len(made):
        twice = pd.Series(made, dtype=object)
        text = f"submission.rows={template}: two rows are written {twice[twice.duplicated()].iloc[0]!r}: mend the card"
        raise Problem(text, code="repeated-id")
    return found


def _sheet(wanted: Submission) -> Sheet:
    return Sheet(separator=wanted.separator, encoding=wanted.encoding, skip=wanted.skip, trim=wanted.trim)


def _listing(card: Card, test: pd.DataFrame, classes: tuple[str, ...]) -> pd.DataFrame:
    """A row for each test image, empty but for its id."""
    key, *answers = card.submission.header or ["id", "label"]
    if card.submission_kind.column_each:
        answers = list(card.submission_kind.asked(classes, card.target_type))
    return pd.DataFrame({key: test["id"], **dict.fromkeys(answers, "")}, dtype=object)


def _check_answers(card: Card, answers: pd.Series, classes: tuple[str, ...]) -> None:
    """Differing answers must be classes; one value in every row is the host's placeholder, class or not."""
    if answers.nunique() < 2:
        return
    known, kind = set(classes), card.submission_kind
    wrong = [k for k, cell in enumerate(answers) if not known.issuperset(kind.labels(cell) or ())]
    if wrong:
        separator = kind.given.get("label_separator")
        place = f"{card.submission.sample}, line {wrong[0] + 2}"
        raise Problem(
            f"{place}: {answers.iloc[wrong[0]]!r} is no class of {card.train.name} "
            f"({len(wrong)} such rows). Correct the file, or name every class in the card (classes: [...])"
            + (f"; classes are parted by {separator!r}, mend submission.label_separator if not" if separator else ""),
            code="unknown-class",
        )


def class_columns(classes: Sequence[str], columns: Sequence[str]) -> tuple[str, ...] | None:
    """The column of each class: named as the class, or all with one same prefix and suffix, as in prob_cat, prob_dog.

    Capitals and blanks around a name count only where names differ in nothing else. None where no rule, or more than
    one, finds every class.
    """
    for spelt in (str, lambda name: name.strip().casefold()):
        wanted, held = [spelt(name) for name in classes], {spelt(name): name for name in columns}
        if not wanted or len(set(wanted)) < len(classes) or len(held) < len(columns):
            continue
        affixes = {
            (name[: at.start()], name[at.end() :]) for name in held for at in re.finditer(re.escape(wanted[0]), name)
        }
        fitting = [(a, z) for a, z in sorted(affixes) if all(a + name + z in held for name in wanted)]
        if ("", "") in fitting or len(fitting) == 1:
            a, z = ("", "") if ("", "") in fitting else fitting[0]
            return tuple(held[a + name + z] for name in wanted)
    return None
