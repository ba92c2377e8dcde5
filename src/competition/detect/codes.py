"""Labels in words where the sample submission answers in codes: what stands for what."""

import re

from src.competition.detect.context import Context
from src.competition.detect.draft import typed
from src.competition.detect.sample import Sample
from src.competition.detect.several import SEPARATORS
from src.competition.detect.sniff import NUMBER
from src.competition.detect.undecided import Try, Undecided
from src.targets.label_cells import parts_of, sort_classes

MOST = 200  # classes that are written out in a message


def codes_of(names: list[str], sample: Sample | None, context: Context) -> dict[str, str] | None:
    """label -> code, from a table that lists both. None where the sample's answers are labels or say nothing.

    Raises Undecided where it answers with several values that are no labels.
    """
    asked = _foreign(names, sample)
    if not asked or any(map(NUMBER.fullmatch, names)):
        return None
    found = {}
    for table in context.tables:
        for word in table.columns:
            if set(names) <= set(table.cells[word]):
                for code in table.columns:
                    pairs = table.cells[[word, code]].drop_duplicates()
                    mapped = dict(zip(pairs[word], pairs[code], strict=True))
                    unique = len(pairs) == len(mapped) == pairs[code].nunique()
                    if code != word and unique and asked <= set(mapped.values()):
                        found[table.path] = {name: mapped[name] for name in sort_classes(names)}
        if len(table.columns) == 1:
            # A list of the names: their places are the codes. Its first line may have been taken for a header.
            word = table.columns[0]
            listed = [*([word] if word in names else []), *table.cells[word]]
            codes = {one: str(k) for k, one in enumerate(listed)}
            if sorted(listed) == sorted(names) and asked <= set(codes.values()):
                found[table.path] = codes
    if len({tuple(sorted(one.items())) for one in found.values()}) == 1:
        context.code_table = next(iter(found))
        return found[context.code_table]
    numbers = all(map(NUMBER.fullmatch, asked))
    whole = all(re.fullmatch(r"[+-]?\d+", one) for one in asked)
    lists = any(set(names) & set(parts_of(one, mark)) for one in asked for mark in SEPARATORS if mark in one)
    if len(asked) < 2 or (numbers and not whole) or lists or len(asked) > len(names):
        return None
    ordered = sort_classes(asked) if len(asked) == len(names) else [str(k) for k in range(len(names))]
    ready = dict(zip(sort_classes(names), ordered, strict=True))
    shown = f"classes='{typed(ready)}'" if len(names) <= MOST else "classes={label: code, ...}"
    what = f"the answers of {sample.table.path} are no classes found, and nothing says what stands for what:"
    tries = [Try("classes found", 0, 0, ", ".join(sort_classes(names)[:6]))]
    tries.append(Try("answers of the sample", 0, 0, ", ".join(sort_classes(asked)[:6])))
    raise Undecided(what, tries, f"Say it; if the codes count the classes in their order: {shown}")


def placeholder_doubt(names: list[str], sample: Sample | None) -> str:
    """What is doubtful where the labels are words, and every answer of the sample is one number; else empty."""
    asked = _foreign(names, sample)
    if len(asked) != 1 or any(map(NUMBER.fullmatch, names)) or not NUMBER.fullmatch(next(iter(asked))):
        return ""
    ready = typed({name: str(k) for k, name in enumerate(sort_classes(names))})
    text = f"the sample holds {next(iter(asked))!r} in every row; if it asks for codes: classes='{ready}'"
    return text if len(names) <= MOST else "the sample holds a number in every row: it may ask for codes"


def _foreign(names: list[str], sample: Sample | None) -> set[str]:
    """The sample's answers, where none of them is a label."""
    if sample is None or len(sample.answers) != 1:
        return set()
    asked = {value for value in sample.values if value.strip()}
    return set() if asked & set(names) else asked
