"""What the label asks for: the target, the submission and the metric, put down as facts."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd

from src.competition import templates
from src.competition.detect import marks
from src.competition.detect.box_tables import class_names
from src.competition.detect.codes import codes_of, placeholder_doubt
from src.competition.detect.context import Context
from src.competition.detect.draft import NOTHING, flow
from src.competition.detect.draft import Evidence as Counted
from src.competition.detect.numbers import are_numbers, numbers_in
from src.competition.detect.roles import words
from src.competition.detect.sample import Sample
from src.competition.detect.several import FEW, Label
from src.competition.detect.target import (
    Choice,
    class_order,
    list_separator,
    spellings,
    submission_kind,
    target_kind,
    usual_metric,
)
from src.competition.detect.train import Train
from src.competition.detect.undecided import Try, Undecided
from src.competition.detect.unsupported import Texts, Units, Unsupported
from src.competition.sample_submission import class_columns
from src.competition.submission_kinds import SUBMISSION_KINDS, kind_class
from src.core.errors import Problem, UsageError
from src.targets import ClassTarget, Evidence, Recognised, TargetType, doubts, recognised, target_type
from src.targets.label_cells import LIST, YES, parts_of, sort_classes

UNSAID = {"unknown", "unk", "todo", "tbd", "unsure", "uncertain", "unspecified", "not labeled", "not labelled"}
MANY = 20  # different cells are more than the classes of most questions
FILLERS = {99, 999, 9999, 255, -1, -9, -99, -999, -9999}  # numbers that stand for none
SHOWN = 6  # columns or values, in a line
WESTERN = ("cp1252", "latin-1")
CONFLICT = (
    "Say what to do: on_conflict=drop leaves these images out; on_conflict=first or on_conflict=majority chooses one "
    "label; target=multilabel, if an image can have several"
)


def label_cells(train: Train) -> pd.Series:
    """The label of each row as one text, whichever columns it comes from."""
    label = train.label
    if isinstance(label.column, str):
        cells = train.cells[label.column] if label.column in train.cells else templates.fill(label.column, train.cells)
        return pd.Series(list(cells), dtype=object)
    if label.numbers:
        return pd.Series([" ".join(row) for row in train.cells[list(label.column)].to_numpy()], dtype=object)
    marks = train.cells[list(label.column)].isin(YES).to_numpy()
    return pd.Series([" ".join(np.array(label.column, dtype=object)[row]) for row in marks], dtype=object)


def class_counts(train: Train) -> dict[str, int]:
    """Training rows of each class."""
    if train.label.numbers:
        return {column: int((train.cells[column].str.strip() != "").sum()) for column in train.label.column}
    if not isinstance(train.label.column, str):
        return {column: int(train.cells[column].isin(YES).sum()) for column in train.label.column}
    cells = label_cells(train)
    if train.label.separator:
        cells = pd.Series([part for cell in cells for part in parts_of(cell, train.label.separator)], dtype=object)
    return cells[cells != ""].value_counts(sort=False).to_dict()


def put_label(train: Train, context: Context) -> Train:
    """Put train.label and train.label_separator; the same training part with the label as the user has it."""
    train = replace(train, label=_as_given(train.label, context))
    draft, label = context.draft, train.label
    if draft.get("train.table"):
        text = f"{label.how}; if their numbers are meant: train.label={label.rival}" if label.rival else label.how
        evidence = Counted(rivals=(f"train.label={label.rival}",) if label.rival else ())
        value = label.column if isinstance(label.column, str) else list(label.column)
        blank = (
            marks.blanks(train.cells, label.column, context)
            if not isinstance(label.column, str) and not label.numbers
            else ""
        )
        text = f"{text}; {blank}" if blank else text
        draft.put("train.label", value, text, guess=bool(label.rival or blank), evidence=evidence)
        if "train.marks" in draft.given:
            draft.put("train.marks", None)
        if label.separator:
            draft.put("train.label_separator", label.separator, "cells hold several labels")
    else:
        draft.put("train.label", "label")
    return train


def put_target(train: Train, tested: bool, context: Context) -> None:
    """Put target, submission.*, metric and classes, once the label is put."""
    given = context.given("target")
    evidence = None if given else _evidence(train, context)
    kind, found = (target_type(given), Recognised("")) if given else recognised(evidence)
    if not isinstance(kind, ClassTarget):
        return _put_without_classes(train.label, kind, found, tested, context)
    if train.label.numbers:
        raise _several_questions(train, context)
    several = train.label.several or _several_rows(train, context)
    counts = class_counts(train)
    draft, label, sample = context.draft, train.label, context.sample
    given = draft.given.get("classes")
    merged = spellings(counts, sample) if isinstance(label.column, str) and not given else None
    doubt = _doubt(names_of := list(counts), train, context)
    doubt = doubt or (doubts(evidence) if evidence and not several else "")
    coded = None if given or merged else class_names(names_of, context) or codes_of(names_of, sample, context)
    mapped = given if isinstance(given, dict) else merged or coded
    names = list(dict.fromkeys(mapped.values())) if mapped else given or list(counts)
    _check_classes(names, label, context)
    kind = target_kind(names, str(label.column), several)
    draft.put("target", kind.value, f"{kind.how}; {doubt}" if doubt else kind.how, kind.guess or bool(doubt))
    if tested:
        _submission(train, names, context)
    form = kind_class(draft.get("submission.kind")) if draft.get("submission.kind") else None
    usual = usual_metric(
        target_type(draft.get("target")), form.registered if form else "label", draft.get("submission.top") or 5
    )
    draft.put("metric", usual.value, usual.how, usual.guess)
    order, how = class_order(names, form, sample)
    if merged:
        _put_spellings(merged, counts, order, how, context)
    elif coded:
        path = context.code_table or ""
        asked = ", and the sample asks for these" * (sample is not None)
        draft.put("classes", _ordered(coded, order), f"{path} says what stands for what{asked}")
    elif order:
        draft.put("classes", order, how.how, how.guess)
    elif not given and (doubt := (placeholder_doubt(names, sample) if tested else "") or _no_class(counts, sample)):
        draft.put("classes", sort_classes(names), doubt, guess=True)
    _check_letters(names, context)


def _evidence(train: Train, context: Context) -> Evidence:
    """What the label's cells and the sample submission hold, for the kinds of target to recognise themselves by."""
    label, counts = train.label, class_counts(train)
    single = isinstance(label.column, str) and not label.several and label.column in train.cells
    held = train.cells[[label.column] if single else list(label.columns)] if single or label.numbers else None
    numbers = numbers_in(held) if held is not None and are_numbers(held) else None
    words_of = words(label.column) if isinstance(label.column, str) else []
    asked = context.sample.numbers if context.sample else None
    name = ", ".join(label.columns[:SHOWN]) + ", ..." * (len(label.columns) > SHOWN)
    columns = {one: train.cells[one].tolist() for one in label.columns} if label.numbers else {}
    return Evidence([*counts], name, words_of, label.several, tuple(counts.values()), numbers, asked, columns)


def _several_questions(train: Train, context: Context) -> Undecided:
    """Columns of a few whole numbers each, which may be numbers, or classes of several questions."""
    held = {column: sort_classes(train.cells[column].unique()) for column in train.label.columns}
    for column, names in held.items():
        if len(names) == 1:
            text = (
                f"{column} is {names[0]!r} in every row, and the sample submission asks for it: nothing can be learned"
            )
            raise Problem(f"{text}: mend the table", code="one-class")
    measured = [column for column, names in held.items() if len(names) > MANY]
    held |= dict.fromkeys(measured, "regression")
    tries = [Try(column, found=", ".join(train.cells[column].unique()[:SHOWN])) for column in held]
    mixed = flow({"name": "mixed", "columns": held})
    what = f"{context.draft.get('train.table')}: the sample submission asks several questions of an image:"
    remedy = f"If the answers are numbers, say so: target=regression. If they are classes: target='{mixed}'"
    return Undecided(what, tries, remedy, [{"target": "regression"}])


def _put_without_classes(label: Label, target: TargetType, found: Recognised, tested: bool, context: Context) -> None:
    """The same of a target that has no classes: one that the user has named, or that was recognised."""
    draft, sample = context.draft, context.sample
    rivals = Counted(rivals=(f"target={found.rival}",)) if found.rival else NOTHING
    draft.put("target", target.spec, found.how, found.guess, rivals)
    if label.asked_as:
        renamed = dict(zip(label.columns, label.asked_as, strict=True))
        draft.put("classes", renamed, "labels on the left are the sample's columns on the right")
    if tested:
        each = sample is not None and len(sample.answers) > 1
        fitting = [name for name, kind in SUBMISSION_KINDS.items() if kind.fits(target) and kind.column_each == each]
        if not fitting:
            text = f"no submission kind is known for {target.name} targets: set submission.kind=NAME"
            raise UsageError(text, code="no-submission-kind")
        if sample is not None:
            draft.put("submission.sample", sample.table.path)
            context.put_sheet("submission", sample.table.sheet.model_copy(update={"header": True}))
            if sample.named:
                told = "two columns together tell its rows apart" if sample.key else "its column of ids"
                draft.put("submission.id", sample.named, told)
        told = f"{len(sample.answers)} columns" if each else "one column beside the id"
        draft.put("submission.kind", fitting[0], told)
    usual = usual_metric(target, draft.get("submission.kind") or "", 1)
    draft.put("metric", usual.value, usual.how, usual.guess)


def _no_class(counts: dict[str, int], sample: Sample | None) -> str:
    """What is doubtful where one class may stand for no label: a word such as unknown, or 999 beside 0, 1 and 2."""
    named = {*sample.answers, *sample.values} if sample else set()
    numbers = {name: int(name) for name in counts if re.fullmatch(r"[+-]?\d+", name)}
    plain = [value for value in numbers.values() if value not in FILLERS]
    far = len(numbers) == len(counts) and plain and min(plain) >= 0 and max(plain) < 90
    odd = [name for name in counts if (far and numbers[name] in FILLERS) or name.strip().casefold() in UNSAID]
    if len(odd) != 1 or odd[0] in named or counts[odd[0]] > sum(counts.values()) / 2:
        return ""
    return f"{odd[0]!r} ({counts[odd[0]]} rows) is taken for a class; if it means no label: train.missing=[{odd[0]}]"


def _check_letters(names: list[str], context: Context) -> None:
    """A table that is no UTF-8 is read by the Western code page: names of Western letters seldom stand in a row."""
    encoding = context.draft.get("train.encoding")
    if encoding not in WESTERN or "train.encoding" in context.draft.given:
        return
    odd = [name for name in names if re.search(r"[^\x00-\x7f]{3}", name)]
    if odd:
        what = f"{context.draft.get('train.table')} is no UTF-8, and its labels make no sense in {encoding}:"
        tries = [Try(name) for name in odd]
        remedy = "Say its encoding: train.encoding=gb18030, cp1251, shift_jis, euc_kr or big5; or save it as UTF-8"
        context.questions.append(Undecided(what, tries, remedy))


def _doubt(names: list[str], train: Train, context: Context) -> str:
    """What speaks for amounts with a unit where classes are taken. Raises Unsupported where that is sure, or where
    the label is a text of its own for each image."""
    label = train.label
    if label.several or not isinstance(label.column, str) or context.given("target"):
        return ""
    if signs := Units.signs(label.column, names):
        raise Unsupported(Units.name, signs)
    if label.column in train.cells and (text := Texts.signs(train.cells[label.column], label.column)):
        raise Unsupported(Texts.name, text)
    return Units.doubt(label.column, names)


def _put_spellings(
    merged: dict[str, str], counts: dict[str, int], order: list[str] | None, positive: Choice, context: Context
) -> None:
    """Put the classes of spellings: a guess where several become one, or nothing in the sample is written so."""
    alike = _alike(merged, counts)
    sample = context.sample
    said = sample is not None and bool({*sample.answers, *sample.values} & set(merged.values()))
    text = f"{alike} are taken for one class; to keep them apart: classes={flow(list(counts))}"
    how = "labels on the left are spellings of the classes on the right"
    how = text if alike else how if said else f"{how}; to keep them as they are: classes={flow(list(counts))}"
    how = f"{how}; {positive.how}" if positive.how else how
    guess = bool(alike) or not said or positive.guess
    context.draft.put("classes", _ordered(merged, order), how, guess=guess)


def _ordered(mapped: dict[str, str], order: list[str] | None) -> dict[str, str]:
    return dict(sorted(mapped.items(), key=lambda pair: order.index(pair[1]))) if order else mapped


def _alike(merged: dict[str, str], counts: dict[str, int]) -> str:
    """The labels that become one class, with their rows; empty where each stays by itself."""
    spelt = {name: [one for one in merged if merged[one] == name] for name in merged.values()}
    groups = [" and ".join(f"{one!r} ({counts[one]} rows)" for one in held) for held in spelt.values() if len(held) > 1]
    return "; ".join(groups)


def _as_given(label: Label, context: Context) -> Label:
    """The label as the user's target or separator has it."""
    target, separator = context.given("target"), context.given("train.label_separator")
    if target is not None and not target_type(target).repeats:
        return Label(label.column, label.how)
    return replace(label, separator=separator, several=True) if separator else label


def _submission(train: Train, names: list[str], context: Context) -> None:
    draft, sample, label = context.draft, context.sample, train.label
    parted = list_separator(names, sample, label.separator)
    separator = draft.given.get("submission.label_separator") or parted.value
    choice = submission_kind(target_type(draft.get("target")), names, sample, draft.given.get("metric"), separator)
    if sample is not None:
        draft.put("submission.sample", sample.table.path)
        context.put_sheet("submission", sample.table.sheet.model_copy(update={"header": True}))
        if sample.named:
            told = "two columns together tell its rows apart" if sample.key else "its column of ids"
            draft.put("submission.id", sample.named, told)
    draft.put("submission.kind", choice.value, choice.how, choice.guess)
    form = kind_class(draft.get("submission.kind"))
    if "label_separator" in form.parameters and (separator != " " or parted.guess):
        draft.put("submission.label_separator", separator, parted.how, parted.guess)
    if "top" in form.parameters:
        draft.put("submission.top", _top(sample, draft.given.get("metric"), separator), "answers in a row")
    if sample is None and not form.column_each:
        name = label.column if isinstance(label.column, str) and label.column in train.cells else "label"
        header = ["id", "label" if re.search(r"column\d+$", name) else name]
        draft.put("submission.header", header, "there is no sample submission: these names are made up", guess=True)


def _check_classes(names: list[str], label: Label, context: Context) -> None:
    """The classes must be what the sample asks for, and classes at all."""
    sample = context.sample
    if len(names) < 2:
        text = ", ".join(names) or "none"
        raise Problem(f"{label.column} holds one class only ({text}): there is nothing to tell apart", code="one-class")
    if sample is None or len(sample.answers) < 2 or isinstance(context.draft.given.get("classes"), dict):
        return
    columns = class_columns(names, sample.answers)
    if columns is not None and (len(columns) == len(sample.answers) or set(names) < set(sample.answers)):
        return
    unfilled = [one for one in sample.answers if one not in (columns or ())]
    tries = [
        Try("classes found", 0, 0, ", ".join(names[:6])),
        Try("columns of the sample", 0, 0, ", ".join(sample.answers[:6])),
        Try("columns that no class fills", 0, 0, ", ".join(unfilled[:6])),
    ]
    what = f"the {len(names)} classes found are not the {len(sample.answers)} columns of {sample.table.path}:"
    remedy = "Say which label: train.label=COLUMN, or how the classes are named: classes={label: column, ...}"
    raise Undecided(what, tries, remedy)


def _several_rows(train: Train, context: Context) -> bool:
    """Whether many images come in several rows with different labels. A few such images are asked about."""
    target = context.given("target")
    if target is not None and not target_type(target).repeats:
        return False
    given = target or context.given("on_conflict")
    if not isinstance(train.label.column, str):
        _ask_about_marks(train, context)
        return False
    if None in train.files or train.label.separator:
        return False
    rows = pd.DataFrame({"id": train.cells[train.id].to_numpy(), "file": train.files, "label": label_cells(train)})
    pairs = rows.drop_duplicates(["file", "label"])
    odd = pairs[pairs["file"].duplicated(keep=False)]
    share = odd["file"].nunique() / pairs["file"].nunique()
    if not len(odd) or share > FEW or given:
        return bool(len(odd)) and (share > FEW or target is not None) and given != "drop"
    held = odd.groupby("file", sort=False).agg({"id": "first", "label": list})
    tries = [Try(f"{one['id']}", 0, 0, " and ".join(one["label"])) for _, one in held.iterrows()]
    what = f"{len(held)} of {pairs['file'].nunique()} images have several labels, such as {held['id'].iloc[0]}:"
    context.questions.append(Undecided(what, tries, CONFLICT))
    return False


def _ask_about_marks(train: Train, context: Context) -> None:
    """Columns of 0 and 1 of which nearly every row has one 1: the rows that have none or several."""
    if train.label.several or context.given("target") or context.given("on_conflict"):
        return
    columns = list(train.label.column)
    marks = train.cells[columns].isin(YES).to_numpy()
    odd = np.flatnonzero(marks.sum(axis=1) != 1)
    if not len(odd):
        return
    ids = train.cells[train.id].to_numpy()
    held = [", ".join(np.array(columns, dtype=object)[marks[k]]) or "no label" for k in odd]
    tries = [Try(f"{ids[k]}", 0, 0, one) for k, one in zip(odd, held, strict=True)]
    what = f"{len(odd)} of {len(marks)} rows have no label or several labels, where the others have exactly one:"
    context.questions.append(Undecided(what, tries, CONFLICT))


def _top(sample: Sample | None, metric: str | None, separator: str) -> int:
    if metric and metric.startswith("map@"):
        return int(metric.removeprefix("map@"))
    return max((len(_in_list(value, separator)) for value in sample.values), default=5) if sample else 5


def _in_list(cell: str, separator: str) -> list[str]:
    return parts_of(cell, separator) if separator == LIST else cell.split(separator)
