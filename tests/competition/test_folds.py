"""Folds: stratified, grouped, multi-label, the host's own; frozen, and honest about what cannot be even."""

from pathlib import Path

import numpy as np
import pandas as pd

from src.competition.folds import deal_units, freeze_folds
from src.competition.samples import Samples
from src.targets import target_type
from tests.fixtures.codes import raises
from tests.fixtures.notes import Notes


def samples(targets, group="", cluster="", part="train"):
    targets = np.asarray(targets)
    count = targets.shape[1] if targets.ndim == 2 else int(targets.max()) + 1
    target = target_type("multilabel" if targets.ndim == 2 else "multiclass")
    train = pd.DataFrame({"id": [f"{k:05d}" for k in range(len(targets))], "path": "x"}, dtype=object)
    train = train.assign(group=group, part=part, cluster=cluster)
    return Samples(train, pd.DataFrame(), targets, tuple(f"c{k}" for k in range(count)), pd.DataFrame(), target)


def table(folds, targets, classes):
    """Rows of each class in each fold."""
    counts = np.zeros((folds.count, classes), int)
    np.add.at(counts, (folds.of_row, targets), 1)
    return counts


def test_every_fold_holds_its_share_of_every_class(tmp_path):
    targets = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [503, 52, 11]))
    folds = freeze_folds(samples(targets), 5, 0, tmp_path)
    counts = table(folds, targets, 3)
    assert (counts.max(axis=0) - counts.min(axis=0) <= 1).all()
    assert counts.sum(axis=1).max() - counts.sum(axis=1).min() <= 1
    assert folds.notes == ()


def test_folds_are_frozen_and_seeded(tmp_path):
    targets = np.arange(100) % 4
    first = freeze_folds(samples(targets), 5, 0, tmp_path)
    again = freeze_folds(samples(targets), 5, 0, tmp_path)
    other = freeze_folds(samples(targets), 5, 1, tmp_path)
    assert first.hash == again.hash != other.hash
    assert (first.of_row != other.of_row).any()
    train, held = first.rows(2)
    assert sorted([*train, *held]) == list(range(100))
    assert [len(part) for part in first.rows("all")] == [100, 0]


def test_a_changed_table_is_refused(tmp_path):
    freeze_folds(samples(np.arange(20) % 2), 2, 0, tmp_path)
    file = next(Path(tmp_path).glob("folds-*.csv"))
    file.write_text(file.read_text().replace("00003", "00033"))
    with raises("folds-edited"):
        freeze_folds(samples(np.arange(20) % 2), 2, 0, tmp_path)


def test_classes_of_one_or_two_images_are_dealt_and_told(tmp_path):
    targets = np.repeat(np.arange(400), 2)
    folds = freeze_folds(samples(targets), 5, 0, tmp_path)
    assert np.bincount(folds.of_row).tolist() == [160] * 5
    assert (table(folds, targets, 400).max(axis=0) == 1).all()
    assert Notes(folds.notes).texts("classes-small", 400, 5, "c0 (2)")


def test_groups_never_straddle_and_stay_stratified(tmp_path):
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 300, 3000)
    targets = np.where(rng.random(3000) < 0.6, rng.integers(0, 8, 300)[groups], rng.integers(0, 8, 3000))
    folds = freeze_folds(samples(targets, groups.astype(str).astype(object)), 5, 0, tmp_path)
    assert pd.DataFrame({"g": groups, "f": folds.of_row}).drop_duplicates()["g"].is_unique
    shares = table(folds, targets, 8) / np.bincount(targets)
    assert np.abs(shares - 0.2).max() < 0.02
    assert Notes(folds.notes).texts("groups-together", len(np.unique(groups)))


def test_clusters_tie_groups_together(tmp_path):
    group = np.array(["a", "a", "b", "b", *map(str, range(36))], dtype=object)
    cluster = np.array(["", "1", "1", "", *[""] * 36], dtype=object)
    folds = freeze_folds(samples(np.arange(40) % 2, group, cluster), 4, 0, tmp_path)
    assert len(set(folds.of_row[:4])) == 1


def test_rows_without_a_group_are_alone(tmp_path):
    group = np.array(["a"] * 4 + [""] * 36, dtype=object)
    folds = freeze_folds(samples(np.zeros(40, int), group), 4, 0, tmp_path)
    assert np.bincount(folds.of_row).tolist() == [10] * 4


def test_several_labels_are_shared_out_the_rarest_first(tmp_path):
    rng = np.random.default_rng(0)
    targets = (rng.random((2000, 6)) < [0.5, 0.3, 0.1, 0.05, 0.02, 0.01]).astype(np.float32)
    folds = freeze_folds(samples(targets), 5, 0, tmp_path)
    counts = np.array([targets[folds.of_row == k].sum(axis=0) for k in range(5)])
    assert (counts.max(axis=0) - counts.min(axis=0) <= np.maximum(2, counts.mean(axis=0) * 0.03)).all()
    assert np.bincount(folds.of_row).max() - np.bincount(folds.of_row).min() <= 1


def test_the_host_s_validation_set(tmp_path):
    part = np.array(["train"] * 30 + ["validation"] * 10, dtype=object)
    data = samples(np.arange(40) % 2, part=part)
    folds = freeze_folds(data, 5, 0, tmp_path, host=True)
    assert folds.count == 1
    assert folds.rows(0)[1].tolist() == list(range(30, 40))
    pooled = freeze_folds(data, 5, 0, tmp_path)
    assert np.bincount(pooled.of_row).tolist() == [8] * 5
    with raises("no-validation-table"):
        freeze_folds(samples(np.arange(40) % 2), 5, 0, tmp_path, host=True)


def test_extra_rows_are_never_held_out(tmp_path):
    part = np.array(["train"] * 30 + ["web"] * 10, dtype=object)
    folds = freeze_folds(samples(np.arange(40) % 2, part=part), 3, 0, tmp_path)
    assert (folds.of_row[30:] == -1).all()
    assert all(set(range(30, 40)) <= set(folds.rows(k)[0]) for k in range(3))


def test_too_few_rows_or_groups(tmp_path):
    with raises("too-few-for-folds", "3 "):
        freeze_folds(samples([0, 1, 0]), 5, 0, tmp_path)
    groups = np.array(["a", "b", "c"] * 10, dtype=object)
    with raises("too-few-for-folds", "3 "):
        freeze_folds(samples(np.arange(30) % 2, groups), 5, 0, tmp_path)


def test_as_even_as_scikit_learn():
    from sklearn.model_selection import StratifiedGroupKFold

    rng = np.random.default_rng(1)
    groups = rng.integers(0, 200, 2000)
    targets = rng.zipf(1.7, 2000) % 6
    theirs = np.zeros(2000, int)
    for fold, (_, held) in enumerate(
        StratifiedGroupKFold(5, shuffle=True, random_state=0).split(targets, targets, groups)
    ):
        theirs[held] = fold
    ours = deal_units(target_type("multiclass").strata(targets), groups, 5, 0)

    def unevenness(of_row):
        counts = np.zeros((5, 6))
        np.add.at(counts, (of_row, targets), 1)
        return np.abs(counts / counts.sum(axis=0) - 0.2).mean()

    assert unevenness(ours) <= unevenness(theirs) + 0.01
