"""What is to be predicted and handed in: the kind of target, of submission, and the usual metric of both."""

import re
import unicodedata
from dataclasses import dataclass

from src.competition.detect.roles import words
from src.competition.detect.sample import Sample
from src.competition.detect.several import SEPARATORS
from src.competition.submission_kinds import SubmissionKind
from src.core.wording import plural
from src.targets import Evidence, TargetType, recognised
from src.targets.label_cells import LIST, is_list, parts_of, sort_classes

NEGATIVE = {"no", "not", "non", "none", "negative", "neg", "normal", "healthy", "ok", "okay", "good", "benign", "clean"}
NEGATIVE |= {"absent", "without", "background", "false", "real", "genuine", "intact", "undamaged", "nothing", "empty"}
DENIALS = ("un", "non", "not", "no", "in", "dis", "without")
BY_CONVENTION = (
    {"0", "1"},
    {"0.0", "1.0"},
    {"False", "True"},
    {"false", "true"},
    {"FALSE", "TRUE"},
    {"n", "y"},
    {"no", "yes"},
)
QUOTES = ("'", '"', "`")
INVISIBLE = re.compile("[\u200b\u2060\ufeff]")
PROBABILITY_METRICS = {"auc", "log_loss", "mean_column_auc"}


@dataclass(frozen=True)
class Choice:
    value: str
    how: str
    guess: bool = False


def target_kind(names: list[str], label: str, several: bool) -> Choice:
    """The kind of target, as the kinds themselves recognise it by the classes and the label's name."""
    kind, found = recognised(Evidence(names, label, words(label), several))
    return Choice(kind.name, found.how, found.guess)


def list_separator(names: list[str], sample: Sample | None, own: str | None) -> Choice:
    """What parts the classes where an answer lists several: that by which all the sample's lists fall into classes.

    `own`: what parts them in the training table, the likeliest where the sample shows no list.
    """
    known = set(names)
    written = [cell for cell in sample.values if cell] if sample else []
    numbers = all(name.isdecimal() for name in names)
    if numbers and written and all(is_list(cell) and known.issuperset(parts_of(cell, LIST)) for cell in written):
        return Choice(LIST, f"the sample writes lists in brackets, such as {written[0]!r}")
    lists = [cell for cell in sample.values if cell and cell not in known] if sample else []
    for mark in SEPARATORS:
        for separator in (f"{mark} ", mark) if mark.strip() else (mark,):
            if lists and all(known.issuperset(cell.split(separator)) for cell in lists):
                return Choice(separator, f"it parts {lists[0]!r} in the sample into classes")
    free = [
        mark for mark in (own, " ", *SEPARATORS) if mark and mark != LIST and not any(mark in name for name in names)
    ]
    message = "as in the training table" if own in free else "no class holds it" if free else "every mark is in a class"
    return Choice(free[0] if free else " ", f"the sample shows no list of classes; {message}", guess=True)


def submission_kind(
    target: TargetType, names: list[str], sample: Sample | None, metric: str | None, separator: str
) -> Choice:
    """What a row of the submission holds. A metric that the user has given decides between answers that look alike.

    `separator` parts the classes of a list, see `list_separator`.
    """
    if sample is not None and len(sample.answers) > 1:
        return Choice("columns", f"{plural(len(sample.answers), 'column')}, one for each class")
    cells = sample.table.cells[sample.answers[0]].tolist() if sample and sample.answers else []
    if metric and metric.startswith("map@"):
        return Choice("ranked", f"{metric} asks for ranks")
    lists = [parts_of(cell, separator) if separator == LIST else cell.split(separator) for cell in cells]
    if target.repeats:
        return _of_several(names, cells, separator)
    if any(len(parts) > 1 for parts in lists) and not any(separator in name for name in names):
        how = f"the sample lists {max(map(len, lists))} answers in a row"
        brackets = separator == LIST  # often as many as apply, of which the sample shows some
        how += "; for as many as apply: submission.kind=set target=multilabel" * brackets
        return Choice("ranked", how, guess=brackets)
    if target.positive_class:
        return _of_two(names, cells, metric)
    return Choice("label", "one class for each image" if cells else "the usual form", guess=not cells)


def _of_several(names: list[str], cells: list[str], separator: str) -> Choice:
    """A list in one cell; without a sample, and with names that hold blanks, a column for each class."""
    if not cells and any(" " in name for name in names):
        return Choice("columns", "no sample; names with blanks seldom stand in a list", guess=True)
    return Choice("set", f"one column for the labels that apply, with {separator!r} between them", guess=not any(cells))


def _of_two(names: list[str], cells: list[str], metric: str | None) -> Choice:
    """A class or the probability of the second one: a fraction in the sample is a probability, for sure."""
    if metric:
        kind = "probability" if metric in PROBABILITY_METRICS else "label"
        return Choice(kind, f"{metric} is computed from it")
    if any(cell not in names and re.fullmatch(r"0?\.\d+|1\.0+|0\.0+|\d\.?\d*[eE]-?\d+", cell) for cell in cells):
        return Choice("probability", f"the sample holds {next(cell for cell in cells if cell not in names)}")
    if len(set(cells)) > 1:
        return Choice("label", "the sample holds both classes")
    return Choice(
        "label",
        f"the sample holds {cells[0]!r} in every row; for a probability say metric=auc or metric=log_loss"
        if cells
        else "no sample; for a probability say metric=auc or metric=log_loss",
        guess=True,
    )


def usual_metric(target: TargetType, kind: str, top: int) -> Choice:
    """The metric that most competitions of this form use. It is always a guess: files do not name it."""
    name = target.likely_metrics(kind, top)[0]
    return Choice(name, "the usual one for such a submission; see the competition's page, set metric=NAME", guess=True)


def class_order(
    names: list[str], kind: type[SubmissionKind] | None, sample: Sample | None
) -> tuple[list[str] | None, Choice]:
    """The order of the classes where the card must say it: all of the sample's columns, or the positive class last."""
    if kind and kind.column_each and sample is not None and set(names) < set(sample.answers):
        return list(sample.answers), Choice("", "the sample has columns for classes without a training image")
    if not kind or not kind.positive_class or len(names) != 2:
        return None, Choice("", "")
    positive = positive_class(names, sample)
    return sorted(names, key=lambda name: name == positive.value), positive


def positive_class(names: list[str], sample: Sample | None) -> Choice:
    """The class whose probability is asked for: the one that the sample's column names, else what no, 0 or ok is not.

    A column such as is_fake or probability_of_cat names a class; one that names both, or neither, says nothing.
    """
    first, second = sort_classes(names)
    column = sample.answers[0] if sample and sample.answers else ""
    called = [name for name in (first, second) if _speaks_of(column, name)]
    if len(called) == 2 and not {first, second} & {column}:
        longest = max(called, key=len)  # unhealthy speaks of healthy too
        called = [longest] if all(_fold(name) in _fold(longest) for name in called) else []
    if column in (first, second):
        called = [column]
    denied = [name for name in (first, second) if _denies(column, name)]
    if not called and len(denied) == 1:
        called = [second if denied[0] == first else first]
    if len(called) == 1:
        return Choice(called[0], f"the sample's column {column!r} asks for its probability")
    if {first, second} in BY_CONVENTION:
        return Choice(second, "1 is the probability of the last")
    negative = [name for name in (first, second) if {*words(name)} & NEGATIVE]
    rival = "the sample's column does not say which; turn the order of classes round if it is the other"
    if len(negative) == 1:
        positive = second if negative[0] == first else first
        return Choice(
            positive, f"the probability is that of {positive!r}, since {negative[0]!r} sounds negative; {rival}", True
        )
    return Choice(second, f"the probability is taken as that of the last, {second!r}; {rival}", True)


def _denies(column: str, name: str) -> bool:
    """Whether a class is called the contrary of the column: Uninfected under infected, not_car under is_car."""
    folded = _fold(name)
    return any(f"{no}{one}" == folded for no in DENIALS for one in words(column) if len(one) > 2)


def _fold(text: str) -> str:
    return "".join(words(text))


def _speaks_of(column: str, name: str) -> bool:
    """Whether a column's name holds a class's: as words, or in one that begins alike, such as cancerous for cancer."""
    asked, held = words(column), words(name)
    many = [f"{one}s" for one in held]
    if any(asked[k : k + len(held)] in (held, many) for k in range(len(asked))) and held:
        return True
    near = [one for one in asked if len(one) > 3]
    return any(len(one) > 3 for one in held) and all(
        one in asked or (len(one) > 3 and any(a.startswith(one) or one.startswith(a) for a in near)) for one in held
    )


def spellings(counts: dict[str, int], sample: Sample | None) -> dict[str, str] | None:
    """label -> class, where several labels are spellings of one, or the sample writes all of them otherwise; else None.

    Labels may differ in capitals and blanks. Single letters may not: a and A are two letters. The sample may write
    1 for 1.0, and 1 for True.
    """
    wanted = {*sample.answers, *sample.values} - {""} if sample else set()
    plain = {name: _plain(name) for name in counts}
    said = bool(wanted.intersection(plain.values()))
    whole = all(re.fullmatch(r"\d+\.0+", name) for name in counts)
    quoted = all(name[:1] == name[-1:] and name[:1] in QUOTES and len(name) > 2 for name in counts)
    other = not wanted.intersection(counts) and (said or whole or quoted)
    base = plain if other else {name: name for name in counts}
    asked_as = {_folded(one): one for one in wanted} if not wanted.intersection(base.values()) else {}
    groups: dict[str, list[str]] = {}
    for name, written in base.items():
        groups.setdefault(_folded(written), []).append(name)
    mapped = {}
    for folded, group in groups.items():
        asked = [base[name] for name in group if base[name] in wanted]
        asked = asked or ([asked_as[folded]] if folded in asked_as else [])
        if len(set(asked)) > 1:
            return None  # the sample tells them apart
        mapped |= dict.fromkeys(group, asked[0] if asked else _written(base[max(group, key=counts.get)]))
    if all(name == best for name, best in mapped.items()):
        return None
    place = {name: k for k, name in enumerate(sort_classes(set(mapped.values())))}
    return dict(sorted(mapped.items(), key=lambda pair: place[pair[1]]))


def _folded(name: str) -> str:
    """A name without what nobody sees, such as capitals, the kind of blank and letters without width."""
    name = unicodedata.normalize("NFC", " ".join(INVISIBLE.sub("", name).split()))
    return name.casefold() if len(name) > 1 else name


def _written(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip())


def _plain(name: str) -> str:
    """The number that a label stands for, where it is written as 1.0 or True; a name without its quotes."""
    if re.fullmatch(r"\d+\.0+", name):
        return name.partition(".")[0]
    if name.casefold() in ("true", "false"):
        return str(int(name.casefold() == "true"))
    return name[1:-1] if name[:1] == name[-1:] and name[:1] in QUOTES and len(name) > 2 else name
