"""Images that belong together, such as those of one patient: a column says so, or the beginnings of the ids."""

import re
from dataclasses import dataclass

import pandas as pd

from src.competition.detect.roles import words
from src.core.wording import plural

NAMES = {"patient", "subject", "driver", "person", "participant", "individual", "location", "lesion", "case", "study"}
NAMES |= {"plant", "sequence", "seq", "video", "session", "slide", "specimen", "animal", "donor", "camera", "scene"}
NAMES |= {"series", "user", "writer", "owner", "speaker", "center", "hospital", "site", "farm", "cluster", "group"}
ENDINGS = {"id", "ids", "no", "num", "nr", "number", "name", "code", "key", "uid", "index"}
SIDES = {"left", "right", "l", "r", "od", "os"}
FEWEST = 10  # groups that folds can be made of


@dataclass(frozen=True)
class Group:
    spec: str  # a column or a template, for the card
    how: str
    sure: bool  # else it is offered, not taken


def find_groups(cells: pd.DataFrame, id_column: str, label: pd.Series, used: set[str]) -> list[Group]:
    """Columns that could group the rows, those with a telling name first, then what the ids tell."""
    found = []
    for column in cells.columns.drop(["row", "row0"], errors="ignore"):
        if column in used or column == id_column or not _repeats(cells[column]) or _told_by(label, cells[column]):
            continue
        count = cells[column].nunique()
        text = f"{plural(count, 'group')} of up to {plural(cells[column].value_counts().iloc[0], 'image')}"
        if count >= FEWEST and _named_like_group(str(column)):
            found.append((count, Group(column, f"{text}; its name says that these belong together", True)))
        elif re.fullmatch(r"folder\d+", str(column)):
            found.append((count, Group(column, f"{text}; folders that are no label", False)))
    # The widest groups hold the narrower ones: a location has many sequences.
    groups = [group for _, group in sorted(found, key=lambda pair: pair[0])]
    return groups or _in_ids(cells[id_column], id_column, label)


def _named_like_group(column: str) -> bool:
    """patient, PatientID and study_no are; plant_type and age_group are not."""
    held = words(column)
    while len(held) > 1 and held[-1] in ENDINGS:
        held.pop()
    return bool(held) and held[-1] in NAMES and (len(held) == 1 or held[-1] != "group")


def _repeats(column: pd.Series) -> bool:
    return 1 < column.nunique() <= 0.9 * len(column)


def _told_by(label: pd.Series, column: pd.Series) -> bool:
    """Whether the label tells the group: a coarser label, or the same in other words.

    Then a class lies in one group as good as whole, and the fold that holds the group out is trained without the
    class. Classes with one image say nothing.
    """
    pairs = pd.DataFrame({"label": label.to_numpy(), "group": column.to_numpy()})
    counts = pairs.value_counts(sort=False).groupby(level="label").agg(["max", "sum"])
    counts = counts[counts["sum"] > 1]
    within = counts["max"] >= 0.9 * counts["sum"]
    return len(counts) > 0 and counts["sum"][within].sum() > counts["sum"].sum() / 2


def _in_ids(ids: pd.Series, id_column: str, label: pd.Series) -> list[Group]:
    """Ids such as 10_left and 10_right, or patient3_07: what stands before the last separator comes again."""
    bare = ids.str.rpartition("/")[2].str.replace(r"\.[A-Za-z]+$", "", regex=True)
    for separator in ("_", "-"):
        parts = bare.str.rpartition(separator)
        heads, tails = parts[0], parts[2]
        if (heads == "").any() or not _repeats(heads) or heads.nunique() < FEWEST or _told_by(label, heads):
            continue
        sides = set(tails.str.lower().unique()) <= SIDES
        named = any(word in NAMES for head in heads.head(20) for word in words(re.sub(r"\d", " ", head)))
        how = f"{heads.nunique()} beginnings of ids before the last {separator!r}, such as {heads.iloc[0]}"
        spec = f"{{{id_column}:before {separator}}}"
        return [Group(spec, f"{how}; {'two sides of one' if sides else 'do these belong together?'}", sides or named)]
    return []
