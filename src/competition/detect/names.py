"""Labels in the names of folders or files: the pattern that takes every path apart."""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, replace

from src.competition.detect.groups import NAMES as GROUPS
from src.competition.detect.parts import PLAIN
from src.competition.detect.roles import is_figures, words
from src.competition.detect.undecided import Try, Undecided
from src.competition.file_tree import common_folder
from src.competition.templates import fields, literal, name, pattern
from src.core.wording import plural

MOST = 0.75  # of the images lie where the classes are
SURE = 0.05  # of the images at most lie beside them, where it is no guess
SEPARATORS = ("_", "-", ".", " ", "__")
REMEDY = "Say how: train.files=PATTERN, such as train/{label}/{file} or train/{label}_{number:d}.jpg"


@dataclass(frozen=True)
class Named:
    """A pattern with a field `label`, and what it says of each of `paths`. `aside`: paths that it does not fit."""

    files: str
    labels: tuple[str, ...]
    how: str
    paths: tuple[str, ...]
    guess: bool = False
    aside: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()  # other patterns


def label_in_names(paths: list[str], known: set[str]) -> Named | None:
    """The label in the folders of these images, else in their names; None where there is none.

    A few images beside the folders of the classes are set aside. `known`: answers that the sample submission holds.
    Raises Undecided where two patterns are as good.
    """
    every, paths = paths, _without_copy(paths, common_folder(paths))
    root = top = common_folder(paths)
    held = [path for path in paths if path.count("/") > root.count("/")]
    doubts = []
    while held and len(held) >= MOST * len(paths):
        below = common_folder(held)
        inner = _Container(below) if below != root else _container(held, root, known)
        if inner is None:
            break
        root = inner.root
        doubts += [inner.doubt] if inner.doubt else []
        held = [path for path in held if path.startswith(root) and path.count("/") > root.count("/")]
    held, doubt = _without_figures(held, root, known)
    doubts += [doubt] if doubt else []
    named = _in_folders(held, root, known) if held and len(held) >= MOST * len(paths) else None
    if named:
        how = "; ".join([named.how, *doubts])
        aside = tuple(sorted(set(every) - set(held)))
        return replace(named, how=how, guess=named.guess or bool(doubts), aside=aside)
    return _in_files(paths, top, known) if not any("/" in path[len(top) :] for path in paths) else None


@dataclass(frozen=True)
class _Container:
    """A folder that holds the folders of the classes; `doubt` in words, where what lies beside it may be classes."""

    root: str
    doubt: str = ""


def _container(paths: list[str], root: str, known: set[str]) -> _Container | None:
    """The one folder below `root` that divides into folders of images, where those beside it are strays.

    Classes hold comparable shares and do not divide again. A stray may divide, too, such as docs/figures and
    docs/icons, if all of it is less than the smallest folder inside the container: else both are classes of patients.
    """
    below = _by_folder(paths, root)
    biggest = max(below, key=lambda one: len(below[one]))
    others = [one for one in below if one != biggest]
    few = sum(len(below[one]) for one in others) <= (1 - MOST) * len(paths)
    if not others or not few or (known and known <= below.keys()):
        return None
    inner = common_folder(below[biggest])
    sizes = {one: len(held) for one, held in _by_folder(below[biggest], inner).items()}
    if len(sizes) < 2 or sum(sizes.values()) < MOST * len(below[biggest]):
        return None
    most = max(len(below[one]) for one in others)
    divided = any(len(_by_folder(below[one], common_folder(below[one]))) > 1 for one in others)
    if divided and most >= min(sizes.values()):
        return None
    sure = not divided and (len(paths) - len(below[biggest]) <= SURE * len(paths) or all(map(is_figures, others)))
    doubt = f"if {', '.join(others[:3])} hold classes as well: train.files='{literal(root)}{{label}}/{{file:path}}'"
    return _Container(inner, "" if sure else doubt)


def _by_folder(paths: list[str], root: str) -> dict[str, list[str]]:
    """The paths in each folder below `root`, without those that lie in `root` itself."""
    held: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        first, slash, _ = path[len(root) :].partition("/")
        if slash:
            held[first].append(path)
    return held


def _divided(below: dict[str, list[str]], root: str) -> str:
    """The largest folder that holds nothing but several folders; else empty."""
    inner = {one: _by_folder(held, f"{root}{one}/") for one, held in below.items()}
    found = [one for one in below if len(inner[one]) > 1 and sum(map(len, inner[one].values())) == len(below[one])]
    return max(found, key=lambda one: len(below[one])) if found else ""


def _without_figures(paths: list[str], root: str, known: set[str]) -> tuple[list[str], str]:
    """The paths without folders that are called after figures and hold far fewer images than the classes; a doubt.

    Two signals, the word and the number, yet a rare class may be called logo: it stays a guess.
    """
    below = _by_folder(paths, root)
    usual = sorted(map(len, below.values()))[len(below) // 2] if below else 0
    strays = [one for one in below if one not in known and is_figures(one) and 10 * len(below[one]) <= usual]
    if not strays or len(below) - len(strays) < 2:
        return paths, ""
    kept = [path for path in paths if path[len(root) :].partition("/")[0] not in strays]
    each = "/{file:path}" if len({path.count("/") for path in paths}) > 1 else "/{file}"
    return kept, f"if {', '.join(strays)} are classes, too: train.files='{literal(root)}{{label}}{each}'"


def _without_copy(paths: list[str], root: str) -> list[str]:
    """The paths without a folder that holds the folders beside it once more, as some archives do."""
    below = _by_folder(paths, root)
    for one, held in below.items():
        if len(below) < 3 or 2 * len(held) != sum(map(len, below.values())):
            continue
        copied = {path.removeprefix(f"{root}{one}/") for path in held}
        beside = {path.removeprefix(root) for other in below if other != one for path in below[other]}
        if copied == beside:
            return [path for path in paths if not path.startswith(f"{root}{one}/")]
    return paths


def _in_folders(paths: list[str], root: str, known: set[str]) -> Named | None:
    parts = [path[len(root) :].split("/")[:-1] for path in paths]
    start = literal(root)
    _ask_about_containers(paths, root, known)
    if len({len(part) for part in parts}) > 1:
        labels = tuple(part[0] for part in parts)
        if len(set(labels)) < 2:
            return None
        how = f"{plural(len(set(labels)), 'folder')} in {root or 'data/'}"
        divided = _divided(_by_folder(paths, root), root)
        if divided:
            how = (
                f"{how}; if {divided} contains the classes: train.files='{start}{literal(divided)}/{{label}}/{{file}}'"
            )
        return Named(f"{start}{{label}}/{{file:path}}", labels, how, tuple(paths), guess=bool(divided))
    levels = [[part[k] for part in parts] for k in range(len(parts[0]))]
    varying = [k for k, level in enumerate(levels) if len(set(level)) > 1]
    if not varying:
        return None
    fitting = [k for k in varying if known and known <= {*levels[k]}]
    # Folders of years and parts are numbered: classes seldom.
    at = fitting[0] if fitting else min(varying, key=lambda k: (len(set(levels[k])), levels[k][0].isdigit()))

    def files(label_at: int) -> str:
        pieces = [
            "{label}" if k == label_at else f"{{{_field(level, k)}}}" if k in varying else literal(level[0])
            for k, level in enumerate(levels)
        ]
        return "/".join([start + pieces[0], *pieces[1:], "{file}"])

    labels = tuple(levels[at])
    how = f"{plural(len(set(labels)), 'folder')}, such as {labels[0]}"
    guess = len(varying) > 1 and not fitting
    rivals = tuple(files(k) for k in varying if k != at) if guess else ()
    return Named(files(at), labels, how, tuple(paths), guess, rivals=rivals)


def _ask_about_containers(paths: list[str], root: str, known: set[str]) -> None:
    """Raises Undecided where folders that divide again are called data or images: they hold classes, or copies."""
    below = _by_folder(paths, root)
    inner = {one: _by_folder(held, common_folder(held)) for one, held in below.items()}
    divided = [one for one in below if len(inner[one]) > 1]
    plain = [one for one in divided if one not in known and {*words(one)} <= PLAIN]
    if not plain or len(divided) < 2:
        return
    tries = [
        Try(
            f"{root}{one}",
            0,
            0,
            f"{len(held)} images in {', '.join(list(inner[one])[:4])}{', ...' * (len(inner[one]) > 4)}",
        )
        for one, held in below.items()
    ]
    within = common_folder(below[plain[0]])
    what = f"{' and '.join(divided[:3])} hold folders of images each, and may be classes or hold the classes:"
    inside, outside = f"{literal(within)}{{label}}/{{file}}", f"{literal(root)}{{label}}/{{file:path}}"
    remedy = f"Say it: train.files='{inside}' for the inner folders, train.files='{outside}' for the outer ones"
    raise Undecided(what, tries, remedy)


def _field(level: list[str], depth: int) -> str:
    """A name for a folder that is no label: patient, where it is patient1, patient2, ..."""
    stems = {match[1].lower() if (match := re.fullmatch(r"([A-Za-z]+)[ _-]?\d+", one)) else "" for one in level}
    stem = stems.pop() if len(stems) == 1 else ""
    return stem if stem in GROUPS else f"folder{depth + 1}"


def _in_files(paths: list[str], root: str, known: set[str]) -> Named | None:
    endings = {path[path.rfind(".") :] for path in paths}
    ending = endings.pop() if len(endings) == 1 else ".{ending}"
    names = [name(path) for path in paths]
    tries = [named for text in _patterns(ending) if (named := _match(text, names, root, paths))]
    if known and any(known <= set(one.labels) for one in tries):
        tries = [one for one in tries if known <= set(one.labels)]
    for better in (_numbered, _worded, _leading):
        tries = [one for one in tries if better(one)] or tries
    distinct = {one.labels: one for one in reversed(tries)}
    if len(distinct) > 1:
        examples = [
            Try(
                one.files,
                len(set(one.labels)),
                0,
                f"{plural(len(set(one.labels)), 'class', 'classes')}: {', '.join(sorted(set(one.labels))[:4])}",
            )
            for one in tries
        ]
        raise Undecided("the labels could stand in the file names in several ways:", examples, REMEDY)
    return tries[0] if tries else None


def _patterns(ending: str) -> list[str]:
    """Ways to write a label into a file name; {number:d} holds digits only, {rest} anything."""
    rules = [f"{{label}}{separator}{{number:d}}" for separator in SEPARATORS]
    rules += ["{label} ({number:d})", "{label}{number:d}"]
    rules += [f"{{number:d}}{separator}{{label}}" for separator in SEPARATORS]
    rules += [f"{{label}}{separator}{{rest}}" for separator in SEPARATORS]
    rules += [f"{{rest}}{separator}{{label}}" for separator in SEPARATORS]
    return [f"{rule}{ending}" for rule in rules]


def _match(text: str, names: list[str], root: str, paths: list[str]) -> Named | None:
    """The pattern's labels where it fits every name and they are few, each with several images."""
    matcher, place = pattern(text), fields(text).index("label")
    found = [matcher.fullmatch(one) for one in names]
    if None in found:
        return None
    labels = tuple(match.groups()[place] for match in found)
    counts = Counter(labels)
    if not all(label[0].isalnum() and label[-1].isalnum() for label in counts):
        return None  # a piece of the separator is no part of a label
    if not 1 < len(counts) <= len(names) / 3 or sorted(counts.values())[len(counts) // 4] < 2:
        return None
    how = f"{len(counts)} beginnings or ends of file names, such as {labels[0]} in {names[0]}"
    return Named(literal(root) + text, labels, how, tuple(paths), guess=labels[0].isdigit())


def _numbered(one: Named) -> bool:
    return "{number:d}" in one.files


def _worded(one: Named) -> bool:
    """Labels of letters, none that ends in a piece of a number."""
    return not any(label[-1].isdigit() for label in set(one.labels))


def _leading(one: Named) -> bool:
    """cat_12 is far more usual than 12_cat, and so 3_100 is the hundredth image of class 3."""
    return name(one.files).startswith("{label}{number") or ("{label}" in name(one.files).split("{number")[0])
