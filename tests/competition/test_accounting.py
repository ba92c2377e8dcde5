"""Every file that prepare finds is accounted for, and what is set aside is told with its place and number."""

import json
import os
import sys

import numpy as np
import pandas as pd
import pytest

from src import prepare
from src.competition.card import load_card
from src.competition.create import prepare as make
from src.competition.quality import accounting as kinds
from src.competition.samples import load_samples
from src.core.paths import competition_folder
from src.images import decode
from tests.fixtures.codes import raises, refused
from tests.fixtures.layouts import BUILDERS, csv, picture, save

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 17096\n"


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "home"))


@pytest.fixture
def insects(tmp_path):
    """Class folders bee, fly, wasp of 12 images each."""
    folder = tmp_path / "insects"
    for k, name in enumerate(("bee", "fly", "wasp")):
        for i in range(12):
            save(folder / name / f"{name}{i}.jpg", picture(k, 20 * k + i))
    return folder


def accounted(source, **given):
    """What became of each kind of file, by name; the numbers must be those of the folder."""
    done = make(source, source.name, given)
    there = [path for path in source.rglob("*") if not path.is_dir()]
    assert done.accounting.total == sum(len(share) for share in done.accounting.shares) == len(there)
    paths = [path for share in done.accounting.shares for path in share.paths]
    assert len(paths) == len(set(paths))
    return {share.name: len(share) for share in done.accounting.shares}, done.accounting


# Faults, a validation part, a table of pixels, one collection, several subsets: the others have nothing else.
FAST = ("dirty", "food", "pixels", "collection", "subsets")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in BUILDERS]
)
def test_the_numbers_add_up_in_every_layout(tmp_path, name):
    built = BUILDERS[name](tmp_path / "host" / name)
    words = dict(word.split("=", 1) for word in built.prepare)
    done = make(built.source, name, {key: prepare._value(key, value) for key, value in words.items()})
    data = competition_folder(name) / "data"
    there = {
        str(path.relative_to(data)) for path in data.rglob("*") if path.is_file() and not path.name.startswith(".")
    }
    assert {path for share in done.accounting.shares for path in share.paths} == there
    assert done.accounting.total == len(there)
    shares = {share.name: set(share.paths) for share in done.accounting.shares}
    trained = shares[kinds.TRAINED] | shares.get(kinds.VALIDATED, set())
    broken = {path.removeprefix(f"{data.resolve()}/") for path in done.overview["unreadable"]}
    assert trained - broken == {*built.train} and shares.get(kinds.TESTED, set()) - broken == {*built.test.values()}


def test_each_kind_of_file_has_its_place(insects, capsys):
    for i in range(5):
        (insects / "wasp" / f"x{i}.jxl").write_bytes(b"\xff\x0a")
    save(insects / "docs" / "figure1.png", picture(1, 99))
    (insects / "README.md").write_text("hello")
    csv(insects / "notes.csv", pd.DataFrame({"date": ["2020", "2021"], "rain": [1, 2]}))
    (insects / "bee" / "photo.image").write_bytes((insects / "bee" / "bee0.jpg").read_bytes())
    os.symlink("nowhere", insects / "fly" / "gone.jpg")
    found, accounting = accounted(insects, **{"train.files": "{label}/{name}.jpg"})
    assert found == {
        kinds.TRAINED: 36,
        f".jxl{kinds.NOT_READ}": 5,
        kinds.FIGURE: 1,
        kinds.UNNAMED: 1,
        kinds.UNUSED: 1,
        kinds.DEAD: 1,
        kinds.OTHER: 1,
    }
    assert [(share.where, len(share)) for share in accounting.shares if share.name == f".jxl{kinds.NOT_READ}"] == [
        ("wasp/", 5)
    ]
    assert not any("README" in line for line in accounting.lines)
    capsys.readouterr()
    assert prepare.main(["insects", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (
        result["files"]["files"] == 46
        and sum(one["files"] for one in result["files"]["shares"] if not one["used"]) == 10
    )
    aside = [one["text"] for one in result["notes"] if one["code"] == "files-set-aside"]
    for word in ("wasp/", "docs/figure1.png", "bee/photo.image", "notes.csv", "fly/gone.jpg"):
        assert sum(word in text for text in aside) == 1, word


def test_masks_are_told_as_masks(tmp_path):
    folder = tmp_path / "cells"
    for k in range(12):
        save(folder / "train" / f"{k}.jpg", picture(k % 2, k))
        save(folder / "masks" / f"{k}.jpg", picture(0, k))
    csv(folder / "train.csv", pd.DataFrame({"id": range(12), "kind": ["a", "b"] * 6}))
    found, _ = accounted(folder, **{"train.images": "train/{id}.jpg"})
    assert found == {kinds.TRAINED: 12, kinds.TABLE: 1, kinds.MASK: 12}


def test_a_class_may_be_called_with_mask(tmp_path):
    """Only a folder or a name that says nothing else is one of masks."""
    for k, name in enumerate(("with_mask", "without_mask")):
        for i in range(12):
            save(tmp_path / "faces" / "train" / name / f"{i}-{name}.jpg", picture(k, i))
            save(tmp_path / "faces" / "raw" / name / f"{i}-{name}.jpg", picture(k, 50 + i))
    save(tmp_path / "faces" / "raw" / "drawn" / "0-with_mask_seg.png", picture(0, 1))
    found, _ = accounted(tmp_path / "faces", **{"train.files": "train/{label}/{name}.jpg"})
    assert found[kinds.TRAINED] == 24
    assert found[kinds.NO_PART] == 24
    assert found[kinds.MASK] == 1


def test_what_a_downloader_kept_of_a_link_is_read(insects, capsys):
    for i in (1, 3, 5):
        (insects / "bee" / f"bee{i}.jpg").rename(insects / "bee" / f"bee{i}.jpg?width=300&crop=1")
    assert prepare.main([str(insects)]) == 0
    samples = load_samples(load_card("insects"))
    assert samples.counts.tolist() == [12, 12, 12]
    assert sum("?width" in path for path in samples.train["path"]) == 3


def test_heic_is_left_out_aloud_where_no_library_reads_it(insects, monkeypatch):
    for library in decode.HEIC_LIBRARIES:
        monkeypatch.setitem(sys.modules, library, None)
    decode.reads_heic.cache_clear()
    for i in range(3):
        (insects / "wasp" / f"y{i}.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(400))
    found, accounting = accounted(insects)
    decode.reads_heic.cache_clear()
    assert found == {kinds.TRAINED: 36, f".heic{kinds.NOT_READ}": 3}
    assert "wasp/y0.HEIC" in accounting.lines[0] and "pip install" in accounting.lines[0]  # a command to be copied


def test_a_refusal_names_files_that_might_have_been_read(tmp_path, capsys):
    for name in ("bee", "fly"):
        for i in range(6):
            (tmp_path / "scans" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "scans" / name / f"{i}.dcm").write_bytes(bytes(128) + b"DICM")
    refused(capsys, prepare.main, [tmp_path / "scans"], "no-images", "12", ".dcm")


# Files that are none


@pytest.mark.parametrize("many", [True, False])
def test_git_lfs_pointers_stop_before_a_card_is_written(insects, many):
    """All of them, and one among hundreds that the first look at some files does not meet."""
    if not many:
        for i in range(300):
            save(insects / "bee" / f"more{i}.jpg", picture(0, 1000 + i))
    for path in insects.rglob("*.jpg"):
        if many or path.name == "more151.jpg":
            path.write_text(POINTER)
    with raises("git-lfs-pointer", "git lfs pull") as text:
        make(insects, "insects", {})
    assert ("more151.jpg" in str(text.value)) != many
    assert not (competition_folder("insects") / "card.yaml").exists()


def test_one_pointer_may_be_left_out_on_demand(insects):
    (insects / "bee" / "bee3.jpg").write_text(POINTER)
    for i in range(100):
        save(insects / "bee" / f"more{i}.jpg", picture(0, 1000 + i))
    with raises("git-lfs-pointer"):
        make(insects, "insects", {})


def test_a_table_that_is_a_pointer(tmp_path):
    for k in range(6):
        save(tmp_path / "x" / "train" / f"{k}.png", picture(0, k))
    (tmp_path / "x" / "train.csv").write_text(POINTER)
    with raises("git-lfs-pointer") as text:
        make(tmp_path / "x", "x", {})
    assert "train.csv" in str(text.value)


def test_a_class_of_which_nothing_can_be_read(insects):
    for path in (insects / "wasp").iterdir():
        path.write_text("<html>404</html>")
    with raises("no-readable-image", "'wasp'"):
        make(insects, "insects", {})
    assert not (competition_folder("insects") / "card.yaml").exists()


def test_dead_links_do_not_stop_the_copy(insects):
    os.symlink("/nowhere/at/all.jpg", insects / "wasp" / "gone.jpg")
    found, _ = accounted(insects)
    assert found == {kinds.TRAINED: 36, kinds.DEAD: 1}


def test_bare_names_beside_a_file_that_is_no_image(tmp_path):
    """The first file of the folder says nothing about the others."""
    for k, name in enumerate(("cat", "dog")):
        for i in range(8):
            save(tmp_path / "pets" / name / f"{name}{i}.jpg", picture(k, i))
            (tmp_path / "pets" / name / f"{name}{i}.jpg").rename(tmp_path / "pets" / name / f"{name}{i}")
        (tmp_path / "pets" / name / "LICENSE").write_text("free")
    found, _ = accounted(tmp_path / "pets")
    assert found == {kinds.TRAINED: 16, kinds.OTHER: 2}


def test_the_same_number_of_files_every_time(insects):
    first, _ = accounted(insects)
    again = make(None, "insects", {}).accounting
    assert {share.name: len(share) for share in again.shares} == first
    assert np.array_equal(again.to_json()["files"], 36)
