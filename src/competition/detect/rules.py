"""Which rule makes files of ids: every way to find them is tried, and counted on all rows."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from src.competition.bags import find_bags
from src.competition.file_tree import Tree
from src.competition.templates import CHANGES, alike, literal, name, number, stem, without_extension

MOST_BAGS = 20  # templates of several images that are tried
SEVERAL = 1.2  # images that an answer has on average, where it has several
TRIED = 100  # values that a way of changing ids is tried on before all are

Candidates = dict[int, list[tuple[str, str]]]  # row -> folder before the template's end, and file


@dataclass(frozen=True)
class Rule:
    """`images`: the template that a card takes. `files`: the file of each row, None where it finds none or several."""

    images: str
    folder: str  # what all its files have in common, with a / at its end, or empty
    files: tuple[str | None, ...]
    by_likeness: bool = False  # the names are not the ids as they are written
    by_number: bool = False  # nothing but a number is the same
    images_each: float = 1.0  # on average, where several images have one answer; `files` has the first of each

    @property
    def hits(self) -> int:
        return sum(file is not None for file in self.files)

    @property
    def full(self) -> bool:
        return None not in self.files


@dataclass(frozen=True)
class Conversion:
    """A way to turn a cell into the name of a file: the field that a template needs for it, and the same as code."""

    field: str
    key: Callable[[str], str]


def find_rules(values: list[str], column: str, tree: Tree) -> list[Rule]:
    """The rules that find files for these cells of a column, the best first. Only the plainest full ones are told."""
    return _find(values, _conversions(values, column, tree), tree)


def find_likely_rules(values: list[str], column: str, tree: Tree) -> list[Rule]:
    """The same where names and ids are spelt differently: see templates.alike."""
    keys = [alike(value) for value in values]
    candidates: Candidates = defaultdict(list)
    for row, key in enumerate(keys):
        for path in tree.by_likeness.get(key, ()) if key else ():
            candidates[row].append((path[: -len(name(path))], path))
    rules = _by_folder(f"{{{column}:alike}}", candidates, values)
    return [replace(rule, by_likeness=True) for rule in rules]


def find_numbered_rules(values: list[str], column: str, tree: Tree) -> list[Rule]:
    """The same where only the numbers in ids and names agree: a7 and img-007. The ids must differ in it alone."""
    shapes = {re.sub(r"\d+(?=\D*$)", "0", stem(value)) for value in values[:TRIED]}
    if len(shapes) > 1:
        return []
    shapes |= {re.sub(r"\d+(?=\D*$)", "0", stem(value)) for value in values}
    numbers = {number(value) for value in values}
    if len(shapes) != 1 or "" in numbers or len(numbers) < len(set(values)):
        return []
    names = Counter(
        (match[1], len(match[2]) if match[2].startswith("0") else 0, match[3])
        for found in tree.by_stem
        if (match := re.fullmatch(r"(.*?)(\d+)(\D*)", found))
    )
    conversions = []
    for (head, width, tail), _ in names.most_common(10):
        field = f"{literal(head)}{{{column}:number{f':0{width}' * (width > 1)}}}{literal(tail)}"
        conversions.append(Conversion(field, lambda value, h=head, w=width, t=tail: f"{h}{number(value).zfill(w)}{t}"))
    return [replace(rule, by_number=True) for rule in _find(values, [conversions], tree)]


def find_bag_rules(values: list[str], column: str, tree: Tree) -> list[Rule]:
    """The same where a cell means several images: all in the folder of that name, or those that are called by it and a
    number. No image may be meant by two cells."""
    few = set(values[:: max(1, len(values) // TRIED)])
    found = {}
    for path in tree.images:
        *folders, last = path.split("/")
        for depth, folder in enumerate(folders):
            bare = folder if folder in few else stem(folder)  # a stack of slices is a folder with an ending
            if bare in few:
                below = "*" if depth == len(folders) - 1 else "**/*"
                above, ending = literal("".join(f"{one}/" for one in folders[:depth])), literal(folder[len(bare) :])
                found[f"{above}{{{column}}}{ending}/{below}"] = None
        head = re.fullmatch(r"(.+?)([-_ ])\d+", stem(last))
        if head and head[1] in few:
            found[f"{literal(path[: len(path) - len(last)])}{{{column}}}{head[2]}*"] = None
    rules = []
    for template in list(found)[:MOST_BAGS]:
        bags = find_bags((template_of_cell(template, column, value) for value in values), tree)
        members = [path for bag in dict(zip(values, bags, strict=True)).values() for path in bag]
        held = [len(bag) for bag in bags if bag]
        if not held or len(set(members)) < len(members) or sum(held) < SEVERAL * len(held):
            continue
        folder = template.partition("{")[0].rpartition("/")[0]
        files = tuple(bag[0] if bag else None for bag in bags)
        rules.append(Rule(template, folder and f"{folder}/", files, images_each=sum(held) / len(held)))
    return sorted(rules, key=lambda rule: -rule.hits)


def template_of_cell(template: str, column: str, value: str) -> str:
    """The template with one cell in it; braces that stand for themselves are single again."""
    return template.replace(f"{{{column}}}", value).replace("{{", "{").replace("}}", "}")


def find_joint_rules(values: list[str], column: str, folders: list[str], by: str, tree: Tree) -> list[Rule]:
    """The same where another column, `by`, names the folder that holds the file."""
    return _find(
        [f"{a}/{b}" for a, b in zip(folders, values, strict=True)], [[Conversion(f"{{{by}}}/{{{column}}}", str)]], tree
    )


def _find(values: list[str], kinds: Iterable[list[Conversion]], tree: Tree) -> list[Rule]:
    found: list[Rule] = []
    step = max(1, len(values) // TRIED)
    for conversions in kinds:
        for conversion in conversions:
            if any(stem(conversion.key(value)) in tree.by_stem for value in values[::step]):
                found += _converted([conversion.key(value) for value in values], conversion.field, values, tree)
        if any(rule.full for rule in found):
            break
    distinct: dict[tuple[str | None, ...], Rule] = {}
    for rule in found:
        distinct.setdefault(rule.files, rule)
    return sorted(distinct.values(), key=lambda rule: -rule.hits)


def _converted(keys: list[str], field: str, values: list[str], tree: Tree) -> list[Rule]:
    """Every pair of key and file votes for the end of a template; the folders before it are compared after that."""
    votes: dict[str, Candidates] = defaultdict(lambda: defaultdict(list))
    for row, key in enumerate(keys):
        for path in tree.by_stem.get(stem(key), ()):
            bare = without_extension(path)
            for whole, ending in ((path, ""), (bare, path[len(bare) :])):
                if whole == key or whole.endswith(f"/{key}"):
                    votes[ending][row].append((whole[: len(whole) - len(key)], path))
                    break
    rules = [rule for ending, found in votes.items() for rule in _by_folder(f"{field}{literal(ending)}", found, values)]
    if len(votes) > 1 and not any(rule.full for rule in rules):
        merged: Candidates = defaultdict(list)
        for ending, found in votes.items():
            for row, pairs in found.items() if ending else ():
                merged[row] += pairs
        rules += _by_folder(f"{field}.*", merged, values)
    return rules


def _by_folder(end: str, candidates: Candidates, values: list[str]) -> list[Rule]:
    """A rule for the deepest folders below which most rows find exactly one file."""
    rows = len(values)
    hits: Counter[str] = Counter()
    for pairs in candidates.values():
        below = Counter(above for folder, _ in pairs for above in _above(folder))
        hits.update(above for above, count in below.items() if count == 1)
    if not hits:
        return []
    most = max(hits.values())
    level = [folder for folder, count in hits.items() if count == most]
    level += [folder for folder, count in hits.items() if most > count >= rows / (2 if most == rows else 20)]
    deepest = [
        folder
        for folder in level
        if not any(o != folder and o.startswith(folder) and hits[o] >= hits[folder] for o in level)
    ]
    return [_rule(folder, end, candidates, values) for folder in deepest[:20]]


def _rule(folder: str, end: str, candidates: Candidates, values: list[str]) -> Rule:
    """The files that are found. One that several different cells lead to is none: ids that differ are other images."""
    files: list[str | None] = [None] * len(values)
    direct = True
    owner: dict[str, str] = {}
    shared: set[str] = set()
    for row, pairs in candidates.items():
        inside = [(at, path) for at, path in pairs if at.startswith(folder)]
        if len(inside) == 1:
            file = inside[0][1]
            files[row] = file
            direct &= inside[0][0] == folder
            if owner.setdefault(file, values[row]) != values[row]:
                shared.add(file)
    if shared:
        files = [None if file in shared else file for file in files]
    return Rule(f"{literal(folder)}{'' if direct else '**/'}{end}", folder, tuple(files))


def _above(folder: str) -> list[str]:
    """A folder and all above it: a/b/ gives a/b/, a/ and the root, which is empty."""
    parts = folder.split("/")[:-1]
    return ["".join(f"{part}/" for part in parts[:k]) for k in range(len(parts), -1, -1)]


def _conversions(values: list[str], column: str, tree: Tree) -> Iterator[list[Conversion]]:
    """The ways to change an id, the plainest first, those that are equally plain together."""
    sample = values[:: max(1, len(values) // TRIED)]
    slashes = "posix" if any("\\" in value for value in sample) else ""
    yield [_changed(column, slashes) if slashes else Conversion(f"{{{column}}}", str)]
    yield from ([conversion] for conversion in _without_beginning(sample, column))
    for change in ("name", "stem", "lower", "upper"):
        if any(CHANGES[change](value) != value for value in sample):
            yield [_changed(column, change)]
    numbers = all(value.isdigit() for value in sample)
    yield [*_with_affixes(sample, column, tree), *(_padded(sample, column, tree) if numbers else ())]


def _changed(column: str, change: str) -> Conversion:
    return Conversion(f"{{{column}:{change}}}", CHANGES[change])


def _without_beginning(sample: list[str], column: str) -> Iterator[Conversion]:
    """The ids share a beginning that the files lack, such as a folder that is not there."""
    common = _beginning(sample)
    for end in sorted({match.end() for match in re.finditer(r"[^a-zA-Z0-9]", common)} | {len(common)}):
        beginning = common[:end]
        if beginning and ":" not in beginning and "}" not in beginning:
            yield Conversion(f"{{{column}:without {beginning}}}", lambda value, b=beginning: value.removeprefix(b))


def _beginning(values: list[str]) -> str:
    low, high = min(values), max(values)
    return low[: next((k for k, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))]


def _with_affixes(sample: list[str], column: str, tree: Tree) -> Iterator[Conversion]:
    """The files have a beginning or an end that the ids lack: the one that the most ids agree on."""
    few = [value for value in sample if value and "/" not in value][:20]
    heads, tails = Counter(), Counter()
    for value in few:
        heads.update({found[: -len(value)] for found in tree.by_stem if found.endswith(value) and found != value})
        tails.update({found[len(value) :] for found in tree.by_stem if found.startswith(value) and found != value})
    for head, count in heads.most_common(3):
        if count * 2 > len(few):
            yield Conversion(f"{literal(head)}{{{column}}}", lambda value, h=head: h + value)
    for tail, count in tails.most_common(3):
        if count * 2 > len(few):
            yield Conversion(f"{{{column}}}{literal(tail)}", lambda value, t=tail: value + t)


def _padded(sample: list[str], column: str, tree: Tree) -> Iterator[Conversion]:
    """The files' numbers are padded with zeros, perhaps behind a beginning."""
    shapes = Counter(
        (match[1], len(match[2])) for found in tree.by_stem if (match := re.fullmatch(r"(.*?)(\d+)", found))
    )
    for (head, width), _ in shapes.most_common(10):
        if any(len(value) < width for value in sample):
            yield Conversion(f"{literal(head)}{{{column}:0{width}}}", lambda value, h=head, w=width: h + value.zfill(w))
