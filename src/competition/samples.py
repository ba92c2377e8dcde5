"""The samples of a competition: one row per image, whatever shape the host's files have."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from src.competition import labels, templates
from src.competition.bags import BAG, ROWS, image_paths, merge_rows, note_sizes
from src.competition.card import Card, Table, TrainTable
from src.competition.file_tree import Tree
from src.competition.label_sources import label_source
from src.competition.metadata import PREFIX, Metadata, asked_columns, typed
from src.competition.row_files import Bands, with_files
from src.competition.sample_submission import sample_of
from src.competition.tables import all_columns, columns_of, need, own_columns, source_table, values
from src.core.console import Note
from src.core.errors import Problem, UsageError
from src.core.wording import plural
from src.images.masks import whole_masks
from src.targets import TargetType
from src.targets.label_cells import YES


def columns_needed(source: Table) -> list[str]:
    """The columns that a table's id and images ask for."""
    return [*columns_of(source.id), *templates.fields(source.images)]


def ids_and_paths(source: Table, table: pd.DataFrame) -> pd.DataFrame:
    """Columns id and path, the path relative to data/ and not yet looked for. Raises Problem for a path outside."""
    ids = values(table, source.id, source.name)
    empty = next((place for place, name in enumerate(ids) if not name), None)
    if empty is not None:
        raise Problem(f"{labels.where(source, table, empty)}: the id is empty. Correct the table", code="empty-id")
    paths = templates.fill(source.images, table)
    odd = [place for place, path in enumerate(paths) if path.startswith("/") or "./" in path or "//" in path]
    for place in odd:
        path = PurePosixPath(paths[place])  # drops ./ and //
        if path.is_absolute() or ".." in path.parts:
            raise Problem(
                f"{labels.where(source, table, place)} names {paths[place]!r}, a file outside data/: correct the table",
                code="path-outside-data",
            )
        paths[place] = str(path)
    return pd.DataFrame({"id": ids, "path": paths}, dtype=object)


TRAIN, VALIDATION = "train", "validation"
WEIGHT = "weight"
LISTED = 5


@dataclass(frozen=True)
class Samples:
    """train: columns id, path, group, part (train, validation, or the name of an extra table) and cluster.
    test: columns id, path. Ids are text, paths absolute; an empty group or cluster is a row of its own. Once the
    files were looked at, both have a column digest, a uint64 of the file's bytes. Where rows count differently, train
    has a column weight. Both have a column of numbers for each of `metadata.columns`.

    targets: (rows of train,) int64 indices into `classes`, or (rows of train, classes) float32 where several apply.
    sample: the sample submission, every cell text.
    test_without_image: ids that must be answered though their image is missing or unreadable; not in `test`.
    notes: what was left out or merged, for the user. bands: where files are the channels of a picture, what tells these
    apart; else empty.
    """

    train: pd.DataFrame
    test: pd.DataFrame
    targets: np.ndarray
    classes: tuple[str, ...]
    sample: pd.DataFrame
    target: TargetType
    test_without_image: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    metadata: Metadata | None = None
    bands: tuple[str, ...] = ()

    @property
    def counts(self) -> np.ndarray:
        """Labelled rows of each class, (classes,), those of a host's validation table among them."""
        return self.counts_in(slice(None))

    def counts_in(self, rows: np.ndarray | slice) -> np.ndarray:
        """How many of these rows each class has, (classes,)."""
        return self.target.counts(self.targets[rows], len(self.classes))

    @property
    def weights(self) -> np.ndarray | None:
        """(rows of train,) float64, how much each counts; None where all count alike."""
        return self.train[WEIGHT].to_numpy(np.float64) if WEIGHT in self.train else None

    @property
    def never_empty(self) -> bool:
        """Whether each training row holds something; then an answer that holds nothing is a fault."""
        return self.target.never_empty(self.targets)

    @property
    def shares(self) -> np.ndarray:
        """The share of training rows that each class applies to, (classes,): the answer where there is no image."""
        return self.target.prior(self.targets, len(self.classes))

    def positions(self, ids: np.ndarray) -> np.ndarray:
        """Rows of `train` that carry these ids, in the order asked for."""
        return pd.Index(self.train["id"]).get_indexer(ids)

    def keeping(self, rows: np.ndarray, note: Note) -> "Samples":
        """The same with these training rows only, (rows,) bool."""
        train = self.train[rows].reset_index(drop=True)
        return replace(self, train=train, targets=self.targets[rows], notes=(*self.notes, note))


def load_samples(card: Card, extra: Sequence[str] = (), tree: Tree | None = None) -> Samples:
    """Read the card's tables and check them against the files; `extra` names further tables of the card to train on.

    tree: the files below data/, where they have been listed already.
    Raises Problem naming the table, row and remedy.
    """
    unknown = [name for name in extra if name not in card.extra]
    if unknown:
        raise UsageError(
            f"data.extra: the card of {card.id} has no extra table {unknown[0]!r}. "
            f"It has {', '.join(card.extra) or 'none'}",
            code="no-such-table",
        )
    tree, notes, bands = tree or Tree(card.data), [], Bands()
    beside = asked_columns(card, tree, notes)
    sources = {TRAIN: card.train, VALIDATION: card.validation} | {name: card.extra[name] for name in extra}
    parts = {
        name: _labelled(card, source, tree, name, notes, beside, bands) for name, source in sources.items() if source
    }
    known = [answers for name, (_, answers, _) in parts.items() if name not in extra]
    classes = labels.class_names(card, known)
    targets = [
        labels.targets_of(answers, table, sources[name], card, classes) for name, (table, answers, _) in parts.items()
    ]
    train = pd.concat([rows for _, _, rows in parts.values()], ignore_index=True)
    if WEIGHT in train:  # a table without votes counts each row once
        train[WEIGHT] = train[WEIGHT].fillna(1.0)
    target = np.concatenate(targets)
    if card.bag == ROWS:
        train, target = merge_rows(train, target, card, card.train.name, notes)
    train, target = _one_row_an_id(train, target, card, notes)
    train, target = _with_image(train, target, card, notes)
    if same := card.target_type.constant_outputs(target, classes):
        notes.append(Note("output-constant", f"{', '.join(same[:LISTED])}: the same in every training row"))
    train = _tied(train, card, notes)
    if WEIGHT in train:
        ends = f"{train[WEIGHT].min():g} to {train[WEIGHT].max():g}"
        text = f"rows count by {card.weight or 'the number of their votes'}, {ends}, in loss, metric and intervals"
        notes.append(Note("rows-weighted", text))
    test, absent = _test(card, tree, beside, notes, bands)
    metadata = typed(card, train, test, target, card.target_type, len(classes), notes) if beside else None
    if absent:
        notes.append(
            Note(
                "test-images-missing",
                f"{plural(len(absent), 'test image')} missing, answered from the classes' shares: {_some(absent)}",
            )
        )
    _unnamed(tree, train, test, notes)
    root = f"{tree.root.resolve()}/"
    for table in (train, test):
        table["path"] = root + table["path"]
        if BAG in table:
            table[BAG] = [tuple(root + path for path in bag) for bag in table[BAG]]
    if BAG in train:
        note_sizes(card, train, notes)
    if told := whole_masks(image_paths(train)):
        notes.append(Note("masks-whole", told))
    sample = sample_of(card, {*test["id"], *absent}, test, classes)
    without = tuple(absent)
    return Samples(train, test, target, classes, sample, card.target_type, without, tuple(notes), metadata, bands.ends)


def refuse_constant(card: Card, samples: Samples) -> None:
    """Raises Problem where every training row has the same label."""
    if samples.target.constant(samples.targets, len(samples.classes)):
        raise Problem(
            f"the label of {card.id} is the same in every training row: mend the card's label column", code="one-class"
        )


def _labelled(
    card: Card, source: TrainTable, tree: Tree, part: str, notes: list[Note], beside: list[str], bands: Bands
) -> tuple[pd.DataFrame, Any, pd.DataFrame]:
    """The table as the host has it, its labels, and its rows as samples; beside: the columns of its metadata."""
    own = label_source(source.label) if isinstance(source.label, dict) else None
    specs = own.columns() if own else source.label if isinstance(source.label, list) else columns_of(source.label)
    group = columns_of(card.group) if card.group else []
    weight = [card.weight] if card.weight else []
    if part != TRAIN and not set(group) <= own_columns(card.data, source):
        group = []  # only the training table must have it
    if part != TRAIN and not set(weight) <= own_columns(card.data, source):
        weight = []
    if part != TRAIN and beside:
        has = set(all_columns(card.data, source)) if source.tables else own_columns(card.data, source)
        beside = [column for column in beside if column in has]
    table = source_table(card.data, source, [*specs, *group, *weight, *beside, *columns_needed(source)], tree)
    if own:  # from here on a column like any other
        column = f"label from {own.registered}"
        table, source = table.assign(**{column: own.cells(table, card.data)}), source.labelled_by(column)
    table = _with_label(table, source, card, part, notes)
    if not len(table):
        raise Problem(f"{source.name} has no rows to train on: mend the card's {part} table", code="no-rows")
    rows = ids_and_paths(source, table)
    rows["group"] = values(table, card.group, source.name) if group else ""
    read = labels.read_labels(table, source, card)
    if card.weight:
        rows[WEIGHT] = _weights(table, source, card.weight) if weight else 1.0
    elif (counted := card.target_type.row_weights(read)) is not None:
        rows[WEIGHT] = counted
    rows = with_files(rows, source, tree, card, bands)
    rows = rows.assign(**_cells_beside(table, beside))
    return table, read, rows.assign(part=part, cluster="")


def _with_label(table: pd.DataFrame, source: TrainTable, card: Card, part: str, notes: list[Note]) -> pd.DataFrame:
    """The rows that have a label. Raises Problem for an empty cell, unless the card lets such rows be left out."""
    if isinstance(source.label, str) and not card.target_type.may_be_empty:
        cells = pd.Series(values(table, source.label, source.name))
        missing = cells.isin(source.missing).to_numpy()
        if missing.any():
            held = ", ".join(map(repr, source.missing))
            notes.append(
                Note(
                    "rows-without-label",
                    f"{plural(missing.sum(), 'row')} of {source.name} without a label ({held}): left out",
                )
            )
            cells, table = cells[~missing], table[~missing]
        empty = (cells.str.strip() == "").to_numpy()
        if empty.any() and source.empty_label == "stop":
            place = labels.where(source, table, int(empty.argmax()))
            raise Problem(
                f"{place}: {source.label} is empty ({empty.sum()} such rows). "
                f"To leave them out: {part}.empty_label: drop in the card",
                code="empty-label",
            )
        if empty.any():
            notes.append(
                Note("rows-without-label", f"{plural(empty.sum(), 'row')} of {source.name} without a label: left out")
            )
            table = table[~empty]
    if isinstance(source.label, list):
        table = labels.with_marks(table, source.label, source.marks)
        missing = table[source.label].isin(source.missing).any(axis=1).to_numpy()
        if missing.any():
            held = ", ".join(map(repr, source.missing))
            notes.append(
                Note(
                    "rows-without-label",
                    f"{plural(missing.sum(), 'row')} of {source.name} with an unknown label ({held}): left out",
                )
            )
            table = table[~missing]
    if isinstance(source.label, list) and card.target_type.one_class and card.on_conflict != "stop":
        odd = (table[source.label].isin(YES).sum(axis=1) != 1).to_numpy()
        if odd.any():
            notes.append(
                Note(
                    "rows-without-label",
                    f"{plural(odd.sum(), 'row')} of {source.name} with no label or several labels: left out",
                )
            )
            table = table[~odd]
    return table


def _weights(table: pd.DataFrame, source: TrainTable, column: str) -> np.ndarray:
    """(rows,) how much each row counts. Raises Problem for a cell that is no number of 0 or more."""
    cells = need(table, column, source.name)
    found = pd.to_numeric(cells, errors="coerce").to_numpy(np.float64)
    wrong = np.flatnonzero(~(np.isfinite(found) & (found >= 0)))
    if len(wrong):
        place = labels.where(source, table, int(wrong[0]))
        text = f"{place}: the weight {column} is {cells.iloc[wrong[0]]!r}, and must be a number of 0 or more"
        raise Problem(f"{text} ({len(wrong)} such rows): correct the table", code="bad-weight")
    if not found.any():
        raise Problem(
            f"{source.name}: the weight {column} is 0 in every row: mend the card's weight", code="bad-weight"
        )
    return found


def _one_row_an_id(
    train: pd.DataFrame, targets: np.ndarray, card: Card, notes: list[Note]
) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows that repeat an id become one: with all their classes where several may apply, else they must agree."""
    repeated = train["id"].duplicated().to_numpy()
    if not repeated.any():
        return train, targets
    first = pd.Index(train["id"][~repeated]).get_indexer(train["id"])
    kept, places = targets[~repeated].copy(), np.flatnonzero(~repeated)
    again = np.flatnonzero(repeated)
    paths = train["path"].to_numpy()
    moved = paths[again] != paths[places[first[again]]]
    if moved.any():
        id_ = train["id"].iloc[again[moved.argmax()]]
        raise Problem(
            f"the id {id_!r} stands for several images ({moved.sum()} such rows): choose another id in the card",
            code="repeated-id",
        )
    differ = card.target_type.combine(kept, first[again], targets[again])
    train = train[~repeated].reset_index(drop=True)
    if not card.target_type.repeats:
        notes.append(Note("rows-repeated", f"{plural(len(again), 'repeated row')} of the training tables left out"))
    if not differ.any():
        return train, kept
    conflicts = np.unique(first[again[differ]])
    ids = _some(map(repr, train["id"].iloc[conflicts]))
    text = f"{plural(len(conflicts), 'image')} with several labels, such as {ids}"
    if card.on_conflict == "stop":
        raise Problem(
            f"{text}. Leave them out: on_conflict: drop in the card, or take the first label or the majority's: "
            "on_conflict: first, on_conflict: majority",
            code="label-conflict",
        )
    if labels.settle_conflicts(kept, ((row, targets[first == row]) for row in conflicts), card, text, notes):
        return train, kept
    whole = np.ones(len(train), dtype=bool)
    whole[conflicts] = False
    return train[whole].reset_index(drop=True), kept[whole]


def _tied(train: pd.DataFrame, card: Card, notes: list[Note]) -> pd.DataFrame:
    """Rows that show one image under several ids belong together in the folds."""
    again = train["path"].duplicated(keep=False).to_numpy()
    if not again.any():
        return train
    images = train["path"][again].nunique()
    if card.group:
        if (train[again].groupby("path")["group"].nunique() > 1).any():
            raise Problem(
                f"{images} images stand in several rows, in different groups: mend the card's group",
                code="group-conflict",
            )
        return train
    notes.append(
        Note(
            "images-repeated",
            f"{images} images stand in several rows ({again.sum()} in all): each image's rows stay in one fold",
        )
    )
    return train.assign(group=np.where(again, train["path"], ""))


def _with_image(
    train: pd.DataFrame, targets: np.ndarray, card: Card, notes: list[Note]
) -> tuple[pd.DataFrame, np.ndarray]:
    absent = train.pop("absent").to_numpy()
    if not absent.any():
        return train, targets
    text = f"{absent.sum()} of {len(train)} training images are missing: {_some(train['path'][absent])}"
    if card.on_bad_image == "stop" or absent.all():
        raise Problem(
            f"{text}. Put them below {card.data} ({card.way_back}), mend the card, or leave them out: "
            "on_bad_image: drop in the card",
            code="missing-image",
        )
    notes.append(Note("images-missing", f"{text}. Their rows are left out"))
    return train[~absent].reset_index(drop=True), targets[~absent]


def _cells_beside(table: pd.DataFrame, columns: list[str]) -> dict[str, np.ndarray]:
    return {PREFIX + column: table[column].to_numpy() for column in columns}


def _test(card: Card, tree: Tree, beside: list[str], notes: list[Note], bands: Bands) -> tuple[pd.DataFrame, list[str]]:
    """The test rows whose image is there, and the ids of the others."""
    if card.test is None:
        return pd.DataFrame(columns=["id", "path", *(PREFIX + column for column in beside)], dtype=object), []
    table = source_table(card.data, card.test, [*beside, *columns_needed(card.test)], tree)
    rows = ids_and_paths(card.test, table).assign(**_cells_beside(table, beside))
    if card.bag != ROWS:
        rows = rows.drop_duplicates(["id", "path"], ignore_index=True)
    repeated = rows["id"][rows["id"].duplicated()]
    if len(repeated) and card.bag != ROWS:
        raise Problem(
            f"{card.test.name}: the test id {repeated.iloc[0]!r} stands for several images ({len(repeated)} such rows)",
            code="repeated-id",
        )
    rows = with_files(rows, card.test, tree, card, bands)
    if card.bag == ROWS:
        rows, _ = merge_rows(rows, None, card, card.test.name, notes)
    absent = rows.pop("absent").to_numpy(bool)
    if absent.any() and card.on_bad_image == "stop":
        raise Problem(
            f"{absent.sum()} of {len(rows)} test images are missing: {_some(rows['path'][absent])}. Put them below "
            f"{card.data} ({card.way_back}), or let their rows be answered from the classes' shares: "
            "on_bad_image: drop in the card",
            code="missing-image",
        )
    if absent.all():
        raise Problem(
            f"none of the {len(rows)} test images of {card.test.name} is there, such as {rows['path'].iloc[0]}",
            code="missing-image",
        )
    return rows[~absent].reset_index(drop=True), rows["id"][absent].tolist()


def _unnamed(tree: Tree, train: pd.DataFrame, test: pd.DataFrame, notes: list[Note]) -> None:
    """Images beside those of the tables that no table names."""
    named = {*image_paths(train), *image_paths(test)}
    folders = {path.rpartition("/")[0] for path in named}
    surplus = [path for path in tree.images if path not in named and path.rpartition("/")[0] in folders]
    if surplus:
        notes.append(Note("images-unused", f"{plural(len(surplus), 'image')} in no table, not used: {_some(surplus)}"))


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
