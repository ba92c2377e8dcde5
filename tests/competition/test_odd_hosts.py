"""Folders that are easy to read wrong: every one is read right, told as a guess, or refused by the right code."""

import json
import re
import unicodedata
import zlib
from itertools import pairwise

import cv2
import numpy as np
import pandas as pd
import pytest

from src import prepare
from src.competition.card import load_card
from src.competition.samples import load_samples
from src.core.paths import competition_folder
from tests.fixtures.codes import refused
from tests.fixtures.notes import Notes

INSECTS, PETS = ("bee", "fly", "wasp"), ("cat", "dog")
CASES = {}
MORE = set()  # cases that are slow


class Host:
    """A folder in the making: what its images mean, and what must come of it."""

    def __init__(self, root):
        self.root, self.train, self.test, self.words = root, {}, {}, []
        self.code = self.guess = self.target = self.positive = None
        self.told = ()
        self.noted = ()

    def file(self, path, content):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def image(self, path, label=None, id=None):
        noise = np.random.default_rng(zlib.crc32(path.encode())).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        self.file(path, cv2.imencode(".png", noise)[1].tobytes())
        if label is not None:
            self.train[path] = label
        if id is not None:
            self.test[str(id)] = path

    def table(self, path, /, sep=",", **columns):
        self.file(path, pd.DataFrame(columns).to_csv(index=False, sep=sep))

    def folders(self, names, root="", n=8):
        for name in names:
            for k in range(n):
                self.image(f"{root}{name}/{name[:3]}x{k}.png", unicodedata.normalize("NFC", name))

    def plain(self, labels, stem="a{}".format, id=None, column="label", sample="", table="train.csv", n=30):
        """train/STEM.png named by a table, test/b0.. named by a sample submission."""
        held = [labels[k % len(labels)] for k in range(n)]
        for k in range(n):
            self.image(f"train/{stem(k)}.png", held[k])
        for k in range(6):
            self.image(f"test/b{k}.png", id=f"b{k}")
        order = np.random.default_rng(3).permutation(n)
        self.table(table, id=[(id or stem)(k) for k in order], **{column: [held[k] for k in order]})
        if sample is not None:
            self.table("sample_submission.csv", id=list(self.test), **{column: sample})

    def edit(self, path, change):
        self.file(path, change((self.root / path).read_text()))


def case(build):
    CASES[build.__name__] = build
    return build


def family(name, rows, build):
    """Cases that differ in a few values: every third runs always, and all where the way they are read is changed."""
    for k, row in enumerate(rows):
        CASES[f"{name}{k}"] = lambda d, row=row: build(d, *row)
        MORE.update([f"{name}{k}"] if k % 3 else [])


# Ids that no file bears as they stand

SPELT = [
    (lambda k: f"IMG {k}", lambda k: f"img-{k:03d}"),
    (lambda k: f"photo.{k}", lambda k: f"photo_{k}"),
    (lambda k: f"s{k}.tiff", lambda k: f"s{k}"),
    (lambda k: f"  s{k}", lambda k: f"s{k}"),
    (lambda k: f"caf%C3%A9%20{k}", lambda k: f"café {k}"),
    (lambda k: f"{k}.0", lambda k: f"{k:04d}"),
    (lambda k: f"http://host/x/s{k}.png", lambda k: f"s{k}"),
    (lambda k: f"Leaf{k}", lambda k: f"leaf_{k}"),
    (lambda k: f"{1000 + 37 * k:,}", lambda k: f"{1000 + 37 * k}"),
    (lambda k: f"a{9 * k}", lambda k: f"img-{9 * k:03d} (top)"),
]
family("spelt", SPELT, lambda d, id, stem: d.plain(INSECTS, stem, id))


def counted(d, file, first):
    d.plain(INSECTS, sample=None)
    d.test.clear()
    for n in range(first, first + 12):
        d.image(f"test/{file(n)}", id=n)
    d.table("test.csv", image=sorted(path[5:] for path in d.test.values()))
    d.table("sample_submission.csv", id=list(d.test), label="bee")


COUNTED = [(lambda n: f"scan ({n}).png", 1), (lambda n: f"T_{n:03d}.png", 0), (lambda n: f"{n}-eval.png", 5)]
family("counted", COUNTED, counted)


@case
def counted_from_nought(d):
    # the numbers 0 to 29 on both sides: all that is the same, and any two lists have them
    d.plain(INSECTS, "img-{}".format, "a{}".format)
    d.guess = "train.images"


@case
def numbers_of_masks(d):
    # two images are missing, and the masks have all the numbers: the names go before
    d.plain(INSECTS, sample=None)
    for k in range(30):
        d.image(f"masks/m_{k}.png")
    for k in (3, 4):
        (d.root / f"train/a{k}.png").unlink()
    d.code = "undecided"


@case
def ids_that_name_nothing(d):
    d.plain(INSECTS, "{}".format, lambda k: "qwertyuiopasdfghjklzxcvbnm1234"[k] * 3)
    d.code = "undecided"


@case
def table_that_names_nothing(d):
    # the names of the files would give labels of their own
    d.plain(INSECTS, lambda k: f"{'xy'[k % 2]}_{k}", lambda k: "qwertyuiopasdfghjklzxcvbnm1234"[k] * 3)
    d.code = "undecided"


@case
def rows_alone(d):
    for k in range(20):
        d.image(f"pics/{k + 1}.png", INSECTS[k % 3])
    d.table("labels.csv", label=list(d.train.values()))
    d.guess = "train.id"


@case
def many_rows_one_file(d):
    # the same names in each class folder: a rule that sends all rows to one folder finds nothing
    for name in INSECTS:
        for k in range(6):
            d.image(f"data/train/{name}/{k:03d}.png", name)
    d.table("labels.csv", path=[path.removeprefix("data/") for path in d.train], label=list(d.train.values()))


# Lists

SETS = [("cat",), ("dog",), ("owl",), ("cat", "dog"), ("dog", "owl"), ("cat", "owl"), ("owl", "cat", "dog")]
LISTS = [
    (json.dumps,),
    (lambda held: "(" + "; ".join(held) + ")",),
    (", ".join,),
    (" | ".join,),
    (";".join, ("cat", "newt")),
    (lambda held: ",".join(held) + ",",),
    (" ".join,),
    ("/".join,),
    *((mark.join,) for mark in ("+", " & ", " and ", "\t", "\n")),
    (lambda held: ",".join(f"'{one}'" for one in held),),
]


def lists(d, spell, odd=None):
    sets = [list(SETS[k % 7]) for k in range(56)]
    if odd:
        sets[5] = list(odd)
    for k, held in enumerate(sets):
        d.image(f"img/a{k}.png", sorted(held))
    d.table("labels.csv", image=[f"a{k}" for k in range(56)], tags=[spell(held) for held in sets])
    d.target = "multilabel"


family("lists", LISTS, lists)
NO_LISTS = [
    ("Tomato, blight", "Tomato, healthy", "Potato, blight", "Potato, healthy"),
    ("red admiral", "red spotted purple", "monarch", "zebra long wing"),
    ("a/b/c", "a/b/d", "e/f/g"),
    ("Corn (maize)", "Corn (sweet)", "Rye"),
]
family("no_lists", [(names,) for names in NO_LISTS], lambda d, names: d.plain(names))


# Contradictions


def twice(d, words, code=None, labels=None):
    d.plain(INSECTS, n=60)
    d.edit("train.csv", lambda text: text + "a3,wasp\na4,bee\na4,bee\n")
    d.words, d.code = words, code
    if labels is None:
        d.train.pop("train/a3.png"), d.train.pop("train/a4.png")
    else:
        d.train |= labels


TWICE = [
    ([], "undecided"),
    (["on_conflict=drop"],),
    (["on_conflict=first"], None, {"train/a3.png": "bee", "train/a4.png": "fly"}),
    (["on_conflict=majority"], None, {"train/a3.png": "bee", "train/a4.png": "bee"}),
]
family("twice", TWICE, twice)


def marks(d, row, words=(), code=None, names=INSECTS):
    for k in range(60):
        d.image(f"train/a{k}.png", names[k % len(names)])
    held = np.eye(len(names), dtype=int)[np.arange(60) % len(names)]
    if row is not None:
        held[7] = row
        d.train.pop("train/a7.png")
    d.table("train.csv", id=[f"a{k}" for k in range(60)], **dict(zip(names, held.T.tolist(), strict=True)))
    d.words, d.code, d.target = list(words), code, "multiclass"


MARKS = [
    ([1, 1, 0], (), "undecided"),
    ([0, 0, 0], ("on_conflict=drop",)),
    (None, (), None, ("test", "train", "val")),
    (None, (), None, ("train", "tram", "bus")),
]
family("marks", MARKS, marks)


def doubts(d, cell, words=(), code=None, stands="", sample=True):
    """Columns of 1, 0, blank and a cell of doubt, several of which may hold: the form of CheXpert."""
    rows = [[("1.0", "0.0", "", cell)[k * (j + 1) % (5 + j) % 4] for j in range(3)] for k in range(40)]
    for k, row in enumerate(rows):
        held = sorted(name for name, one in zip(INSECTS, row, strict=True) if one in {"1.0", stands} - {""})
        d.image(f"train/a{k}.png", None if stands == "out" and cell in row else held)
        d.image(f"test/b{k}.png", id=f"b{k}")
    d.table("train.csv", id=[f"a{k}" for k in range(40)], **dict(zip(INSECTS, zip(*rows, strict=True), strict=True)))
    if sample:
        d.table("sample_submission.csv", id=list(d.test), **dict.fromkeys(INSECTS, 0))
    d.words, d.code, d.target, d.guess = list(words), code, "multilabel", None if code else "train.label"


DOUBTS = [
    ("-1.0", (), "undecided"),
    ("-1.0", ("target=multilabel",), "undecided"),
    ("uncertain", (), "undecided", "", False),
    ("-1.0", ("train.marks={-1.0: 0}",)),
    ("-1", ("train.marks={-1: 1}",), None, "-1"),
    ("u", ("train.marks={u: 1}",), None, "u", False),
    ("nan", ("train.missing=[nan]",), None, "out"),
    ("2", (), "undecided"),  # several questions, each with its own answers
]
family("doubts", DOUBTS, doubts)


@case
def farms(d):
    d.plain([f"f{k}" for k in range(12)], n=96)
    d.edit(
        "train.csv",
        lambda text: "\n".join(f"{line},{'farm' if k == 0 else line[-1]}" for k, line in enumerate(text.split())),
    )
    d.told = ("!group",)


# Parts of the data in names

PARTS = [
    (("bus", "car", "tram", "train"), ()),
    (("control", "mild", "severe", "val"), ("undecided",)),
    (("test tube", "beaker"), ()),
    (("training shoes", "boots"), ()),
]


def parts(d, names, code=()):
    d.folders(names)
    for name in names:
        d.image(f"{name}/a {name} to test {name}.png", name)
    d.code = code[0] if code else None


family("parts", PARTS, parts)


def split(d, train, test, more=()):
    d.folders(PETS, f"{train}/")
    for name in PETS:
        for k in range(4):
            d.image(f"{test}/{name}/t{name}{k}.png", id=f"t{name}{k}.png")
    for path in more:
        d.image(path)
    d.told = tuple(path.rpartition("/")[2] if "/" not in path else path.split("/")[0] for path in more)


SPLIT = [
    ("Training", "Testing"),
    ("data/train", "data/test", ("figures/a.png", "figures/b.png")),
    ("train", "test", ("test_small/cat/x.png", "test_small/dog/y.png")),
    ("x/TRAIN", "x/TEST", ("cover.png",)),
]
family("split", SPLIT, split)

CONTAINERS = [
    ("images/", ("figs/a.png", "figs/b.png")),
    ("archive/set/", ("banner.png",)),
    ("pets {v2}/", ()),
    ("", ("logo.png", "map.png")),
]


def containers(d, root, strays):
    d.folders(("cat", "dog", "owl"), root)
    for path in strays:
        d.image(path)
    d.told = tuple(path.rpartition("/")[2] for path in strays[:1])


family("containers", CONTAINERS, containers)


STRAYS = [
    # the folder of the class folders, the folders beside it with their numbers of images, whether it is a guess
    ("dataset/", {"Readme_images": 3, "images": 1, "net/Readme_images": 2, "Logo": 1}, None),
    ("Large/", {"photos": 4}, "train.files"),
    ("data/all/", {"docs/figures": 1, "docs/icons": 1}, "train.files"),
    ("", {"assets": 2, "Logo": 1}, "train.files"),
    ("sets/final/", {"sets/final/readme images": 2}, "train.files"),
]


def stray_folders(d, root, strays, guess):
    d.folders(("with_mask", "without_mask"), root, n=24)
    for folder, count in strays.items():
        for k in range(count):
            d.image(f"{folder}/p{k}.png")
    d.image("row.png")
    d.guess, d.told = guess, tuple(f"{folder}/" for folder in strays)


family("stray_folders", STRAYS, stray_folders)


@case
def parts_in_each_class(d):
    d.folders([f"{name}/train" for name in PETS])
    d.train = {path: path.split("/")[0] for path in d.train}
    for name in PETS:
        for k in range(3):
            d.image(f"{name}/test/{name}{k}.png", id=f"{name}{k}.png")


@case
def unpacked_twice(d):
    d.folders(PETS, "cells/")
    for path in d.train:
        d.file(path.replace("cells/", "cells/cells/"), (d.root / path).read_bytes())
    d.told = ("cells/cells/cat",)


@case
def masks_beside_images(d):
    for name in ("benign", "normal"):
        for k in range(1, 9):
            d.image(f"{name}/{name} ({k}).png", name)
            d.image(f"{name}/{name} ({k})_mask.png")
        d.image(f"{name}/{name} (3)_mask_1.png")
    d.told = ("set aside as masks",)


@case
def two_containers(d):
    # copies of one set, or two sets: no classes in any case
    for root in ("Fonts/my/", "data/"):
        d.folders(("00_ant", "01_bee", "02_cow"), root, n=4)
    d.code = "undecided"


@case
def masks_of_images(d):
    # both folders hold the same names: two views of one thing, and no classes
    for k in range(20):
        d.image(f"images/i{k}.png")
        d.image(f"masks/i{k}.png")
    d.code = "undecided"


@case
def private_and_public(d):
    d.folders(("private", "public"))
    d.code = "undecided"


@case
def many_beside_the_container(d):
    # a third of the images lie beside: nothing tells strays from a class
    d.folders(("with_mask", "without_mask"), "dataset/")
    d.folders(("samples",))
    d.train = {path: path.split("/")[0] for path in d.train}
    d.guess = "train.files"


def patients(d, names, folders, guess):
    # each class divides into its patients, and one is rare: the first level is the label
    for name, held in zip(names, folders, strict=True):
        for patient in held:
            for k in range(4):
                d.image(f"{name}/{patient}/{name}{patient}{k}.png", name)
    d.guess = guess


PATIENTS = [
    (("healthy", "sick"), ("abcdefghij", "kl"), "train.files"),
    (("healthy", "sick"), ("abcde", "fghij"), "train.files"),
]
family("patients", PATIENTS, patients)


def folder_beside_classes(d, words, code=None, read=("cat", "dog")):
    d.folders(("cat", "dog"))
    for k in range(6):
        d.image(f"test/{k}.png", "test" if "test" in read else None, None if "test" in read else f"{k}.png")
    d.words, d.code = words, code


BESIDE = [
    ([], "undecided"),
    (["test.files=test/{file}"],),
    (["train.files={label}/{file}"], None, ("cat", "dog", "test")),
]
family("beside", BESIDE, folder_beside_classes)


@case
def one_test_image_named_after_its_folder(d):
    for name in PETS:
        for k in range(8):
            d.image(f"Images/{name}/{name}_{k}.png", name)
    d.image("Images/Test/test_image.png")
    d.code = "undecided"


@case
def composed_folders(d):
    d.folders([unicodedata.normalize("NFD", "crème"), "bleu"], "train/")
    for k in range(4):
        d.image(f"test/t{k}.png", id=f"t{k}")
    d.table("sample_submission.csv", id=list(d.test), label=unicodedata.normalize("NFC", "crème"))


# Headers and tables

HEADERS = [("cat", ("cat", "no_cat")), ("fire", ("smoke", "fire")), ("level", ("low", "level", "high"))]
family("header", HEADERS, lambda d, column, names: d.plain(names, column=column))


@case
def stray_named_as_column(d):
    d.plain(INSECTS)
    d.edit("train.csv", lambda text: text.replace("id,", "filename,", 1))
    d.image("train/filename.png")


def written(d, change, *words):
    d.plain(INSECTS, sample="bee")
    d.edit("train.csv", change)
    d.words = list(words)


WRITTEN = [
    (lambda t: "sep=;\n" + t.replace(",", ";"),),
    (lambda t: t + ",\n,\n" * 9,),
    (lambda t: t.replace(",", ",  "),),
    (lambda t: t.replace(",", "\t"),),
    (lambda t: t.partition("\n")[2],),
    (lambda t: t.partition("\n")[2].replace(",", "|"), "train.separator=|", "train.header=false"),
    (lambda t: "\ufeff" + t.replace("\n", "\r\n"),),
    (lambda t: "# made by us\n# in 2019, with care\n" + t,),
    (lambda t: "All the insects\n" + t,),
    (lambda t: t.replace("bee", "'bee'").replace("fly", "'fly'").replace("wasp", "'wasp'"),),
    (lambda t: t.replace("id,label", "id,label,note").replace("bee\n", f'bee,"{"x" * 140_000}"\n', 1),),
]
family("written", WRITTEN[:-1], written)


def told(d, path, change, *words):
    """What is said of a table's writing reaches the reader, whichever part it belongs to."""
    d.plain(INSECTS, sample="bee")
    d.table("test.csv", id=list(d.test))
    d.edit(path, change)
    d.words = list(words)


TOLD = [
    ("test.csv", lambda t: t.partition("\n")[2], "test.header=false"),
    ("test.csv", lambda t: t.replace("\n", "~x\n"), "test.separator=~"),
    ("sample_submission.csv", lambda t: t.replace(",", "~"), "submission.separator=~"),
    ("train.csv", lambda t: f"a,b\nc,d\n{t}", "train.skip=2"),
    ("train.csv", lambda t: t.replace("bee", " bee"), "train.trim=true"),
]
family("told", TOLD, told)


# Labels


def absent(d, mark, code=None, guess="train.missing", names=INSECTS):
    d.plain(names, n=36)
    lines = (d.root / "train.csv").read_text().split()
    for k in (3, 9, 15, 21):
        d.train.pop(f"train/{lines[k].partition(',')[0]}.png")
        lines[k] = lines[k].partition(",")[0] + f",{mark}"
    d.file("train.csv", "\n".join(lines) + "\n")
    d.code, d.guess = code, None if code else guess


ABSENT = [
    ("null",),
    ("N/A",),
    ("?",),
    ("-1", None, "train.missing", ("1", "2", "3")),
    ("NA", "undecided"),
    ("", None, "train.empty_label"),
]
family("absent", ABSENT, absent)


def beside(d, name, cells, answer, code=None):
    """A second column that is no label, and a sample whose answers are called otherwise."""
    d.plain(INSECTS, column="whale", sample=None)
    lines = zip((d.root / "train.csv").read_text().split(), [name, *cells], strict=True)
    d.file("train.csv", "".join(f"{line},{cell}\n" for line, cell in lines))
    d.table("sample_submission.csv", id=list(d.test), Predicted=answer)
    d.code, d.target = code, "multiclass"


BESIDE = [
    ("date", [f"2021-05-{k % 28 + 1}" for k in range(30)], "bee fly"),
    ("date", [f"2021-05-{k % 28 + 1}" for k in range(30)], "wasp;fly"),
    ("date", [f"2021-05-{k % 28 + 1}" for k in range(30)], "0", "undecided"),
    ("fold", [k % 5 for k in range(30)], "0"),
    ("kfold_id", ["abcde"[k % 5] for k in range(30)], ""),
]
family("beside", BESIDE, beside)


@case
def class_that_may_mean_none(d):
    d.plain(("bee", "fly", "unknown"))
    d.guess = "classes"


@case
def code_that_may_mean_none(d):
    d.plain((*"012", "999"))
    d.guess = "classes"


@case
def letters_of_another_code_page(d):
    d.plain(("蜜蜂", "苍蝇"), sample=None)
    d.file("train.csv", (d.root / "train.csv").read_text(encoding="utf-8").encode("gbk"))
    d.code = "undecided"


POSITIVE = [
    (("Parasitized", "Uninfected"), "infected", "Parasitized", False),
    (("cat", "dog"), "cats", "cat", False),
    (("mask", "no_mask"), "no_mask", "no_mask", False),
    (("bag", "box"), "is_box", "box", False),
    (("benign", "malignant"), "malignant_prob", "malignant", False),
    (("cat", "dog"), "P(cat)", "cat", False),
    (("fake", "real"), "isFake", "fake", False),
    (("crack", "no crack"), "has_crack", "crack", False),
    (("healthy", "sick"), "target", "sick", True),
    (("normal", "tumour"), "normal_probability", "normal", False),
    (("0", "1"), "target", "1", False),
]


def positive(d, names, column, wanted, guess):
    d.plain(names, sample=None)
    d.table("sample_submission.csv", id=list(d.test), **{column: 0.5})
    d.positive, d.guess = wanted, "classes" if guess else None


family("positive", POSITIVE, positive)


@case
def codes_in_a_table(d):
    d.plain(INSECTS, sample=[2, 0, 1, 2, 0, 1])
    d.table("classes.csv", index=[2, 0, 1], name=list(INSECTS))
    d.train = {path: {"bee": "2", "fly": "0", "wasp": "1"}[label] for path, label in d.train.items()}


@case
def codes_by_place(d):
    d.plain(INSECTS, sample=0)
    d.file("names.txt", "fly\nbee\nwasp\n")
    d.train = {path: str(("fly", "bee", "wasp").index(label)) for path, label in d.train.items()}


@case
def other_capitals(d):
    d.plain(INSECTS, sample=["BEE", "FLY", "WASP"] * 2)
    d.train = {path: label.upper() for path, label in d.train.items()}


@case
def letters_unsaid(d):
    d.plain(INSECTS, sample=["a", "b", "c"] * 2)
    d.code = "undecided"


@case
def the_same_sample_twice(d):
    d.plain(INSECTS)
    d.file("more/sample_submission.csv", (d.root / "sample_submission.csv").read_bytes())


@case
def a_column_of_training_rows(d):
    for k in range(40):
        tested = k % 4 == 3
        d.image(f"img/a{k}.png", None if tested else PETS[k % 2], f"a{k}" if tested else None)
    rows = {"image": [f"a{k}" for k in range(40)], "pet": [PETS[k % 2] for k in range(40)]}
    d.table("all.csv", **rows, is_training_image=[int(k % 4 != 3) for k in range(40)])


@case
def twelve_bits(d):
    d.plain(INSECTS)
    for path in (*d.train, *d.test.values()):
        d.file(path, cv2.imencode(".png", np.full((8, 8), 900, np.uint16))[1].tobytes())
    d.told = ("images-faint",)


@case
def codes_unsaid(d):
    d.plain(INSECTS, sample=[2, 0, 1, 2, 0, 1])
    d.code = "undecided"


@case
def codes_given(d):
    codes_unsaid(d)
    d.words, d.code = ["classes={bee: 0, fly: 1, wasp: 2}"], None
    d.train = {path: str(INSECTS.index(label)) for path, label in d.train.items()}


# Tasks that are none of classes

IDS = [f"x{k:02d}" for k in range(24)]


def other_task(d, train, sample, images=None, test=None):
    for id in [*IDS, *(f"y{k}" for k in range(6))]:
        for path in images(id) if images else [f"img/{id}.png"]:
            d.image(path)
    d.table("train.csv", **train)
    d.table("sample_submission.csv", **sample)
    if test:
        d.table("test.csv", **test)
    d.code = "unsupported-task"


ASKED = [f"y{k}" for k in range(6)]
OTHER = [
    (
        {"left": IDS, "right": IDS[5:] + IDS[:5], "same": [0, 1] * 12},
        {"pair": [f"{a}-{b}" for a, b in pairwise(ASKED)], "same": 0},
    ),
    ({"id": IDS, "EncodedPixels": ["1 3 10 5"] * 24}, {"id": ASKED, "EncodedPixels": "1 1"}),
    ({"id": IDS, "kind": ["a", "b"] * 12}, {"id": ASKED, "PredictionString": "0.9 0 0 5 5"}),
    ({"id": IDS, "size": [f"{k},5 cm" for k in range(24)]}, {"id": ASKED, "size": ""}),
    ({"id": IDS, "text": [f"number {k} in the sun" for k in range(24)]}, {"id": ASKED, "text": ""}),
    (
        {"id": IDS, "a": [0, 1] * 12, "b": [1, 0] * 12},
        {"id": [a for a in ASKED for _ in "cd"], "q": [*"cd"] * 6, "p": 0},
    ),
]
family("other_task", OTHER, other_task)


def boxes(d, tell, name="p{}".format):
    for k in range(24):
        d.image(f"JPEGImages/{name(k)}.png")
    tell(d, [name(k) for k in range(24)])
    d.code = "unsupported-task"


def voc(d, names):
    for one in names:
        box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>6</ymax></bndbox>"
        d.file(f"Annotations/{one}.xml", f"<annotation><object><name>cell</name>{box}</object></annotation>")


def yolo(d, names):
    for k, one in enumerate(names):
        d.file(f"labels/{one}.txt", "".join(f"{j % 2} 0.5 0.25 0.{j + 1} 0.{j + 2}\n" for j in range(k % 3 + 1)))


def corner_table(d, names, table="labels.csv", kinds=("cell", "dust"), corners=("xmin", "ymin", "xmax", "ymax")):
    rows = [(f"{one}.png", 8, kinds[(k + j) % len(kinds)], j, 1, 5, 6) for k, one in enumerate(names) for j in (0, 1)]
    d.table(table, **dict(zip(("filename", "size", "class", *corners), zip(*rows, strict=True), strict=True)))


def coco_boxes(d, names):
    images = [{"id": k, "file_name": f"{one}.png"} for k, one in enumerate(names)]
    notes = [{"id": k, "image_id": k // 2, "category_id": k % 3, "bbox": [1, 1, 4, k]} for k in range(48)]
    kinds = [{"id": k, "name": one} for k, one in enumerate(INSECTS)]
    d.file("notes.json", json.dumps({"images": images, "annotations": notes, "categories": kinds}))


BOXES = [
    (voc,),
    (voc, lambda k: f"{2007 + k % 3}_{k:06d}"),
    (yolo,),
    (corner_table,),
    (lambda d, names: corner_table(d, names, "test.csv"),),
    (lambda d, names: corner_table(d, names, kinds=("raccoon",)),),
    (lambda d, names: corner_table(d, names, corners=("x", "y", "Width", "Height")),),
    (coco_boxes,),
]
family("boxes", BOXES, boxes)


@case
def one_crop_an_image(d):
    d.plain(INSECTS, sample=None)
    corners = ",".join(("xmin", "ymin", "xmax", "ymax"))
    d.edit("train.csv", lambda text: text.replace("\n", ",1,1,5,6\n").replace("label,1,1,5,6", f"label,{corners}"))


@case
def classes_with_boxes_beside(d):
    d.folders(PETS, "images/", n=9)
    voc(d, [path.rpartition("/")[2].removesuffix(".png") for path in d.train])


@case
def a_box_in_each_row(d):
    for k in range(20):
        d.image(f"img/p{k}.png", sorted(("RBC", "WBC") if k % 2 else ("RBC",)))
    rows = [(f"p{k}.png", cell, 3 * j) for k in range(20) for j, cell in enumerate(d.train[f"img/p{k}.png"] * 2)]
    d.table("boxes.csv", **dict(zip(("image", "cell_type", "x"), zip(*rows, strict=True), strict=True)))
    d.words, d.target = ["train.label=cell_type"], "multilabel"


@case
def coco_names(d):
    for k in range(24):
        d.image(f"images/a{k}.png", PETS[k % 2])
    images = [{"id": k, "file_name": f"a{k}.png"} for k in range(24)]
    notes = [{"id": k, "image_id": str(k), "category_id": 3 + k % 2} for k in range(24)]
    kinds = [{"id": 3, "name": "cat"}, {"id": 4, "name": "dog"}]
    d.file("notes.json", json.dumps({"images": images, "annotations": notes, "categories": kinds}))
    d.guess = "train.label"


@case
def trained_on_and_tested(d):
    d.plain(INSECTS, sample=None)
    d.test = {f"a{k}": f"train/a{k}.png" for k in range(10)}
    d.table("test.csv", id=list(d.test))
    d.noted = ("detected", 10, "test.csv")


# Reading them


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PODIUM_DATA", str(tmp_path / "nothing"))
    # Two thirds of the time; the preview has tests of its own.
    monkeypatch.setattr("src.reporting.preview.write_preview", lambda done: done.card.folder / "preview.html")


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in MORE else ()) for name in CASES])
def test_case(name, tmp_path, capsys):
    host = Host(tmp_path / "host")
    CASES[name](host)
    code = prepare.main([str(host.root), "id=c", "--json", *host.words])
    out = capsys.readouterr()
    if host.code:
        assert (code, json.loads(out.out)["error"]["code"]) == (1, host.code), out.err
        return
    assert code == 0, out.err
    card = load_card("c")
    samples = load_samples(card)
    root = f"{card.data.resolve()}/"
    rows = zip(samples.train["path"].str.removeprefix(root), labels_of(samples), strict=True)
    assert dict(rows) == host.train, out.err
    assert dict(zip(samples.test["id"], samples.test["path"].str.removeprefix(root), strict=True)) == host.test
    text = (competition_folder("c") / "card.yaml").read_text(encoding="utf-8")
    if host.guess:
        assert any(f"{host.guess.rpartition('.')[2]}:" in line and "guess" in line for line in text.splitlines()), text
    assert host.target in (None, card.target)
    assert host.positive in (None, samples.classes[-1])
    for told in host.told:
        assert (told[1:] not in text) if told.startswith("!") else (told in out.out), (told, out.err)
    assert not host.noted or Notes(json.loads(out.out)["notes"]).texts(*host.noted), out.err


def labels_of(samples):
    if samples.targets.ndim == 1:
        return [samples.classes[k] for k in samples.targets]
    return [sorted(samples.classes[k] for k in np.flatnonzero(row)) for row in samples.targets]


def test_all_that_is_open_is_asked_at_once(tmp_path, capsys):
    host = Host(tmp_path / "host")
    host.plain(INSECTS, n=60, sample=None)
    for name in ("sample_submission.csv", "old_submission.csv"):
        host.table(name, id=list(host.test), **{"answer" if name[0] == "o" else "grade": "bee"})
    host.edit("train.csv", lambda text: text + "a3,wasp\n")
    assert prepare.main([str(host.root), "id=c", "--json"]) == 1
    message = json.loads(capsys.readouterr().out)["error"]["message"]
    assert "submission.sample=" in message and "on_conflict=" in message
    words = ["train.table=x.csv", "submission.sample=y.csv"]
    assert prepare.main([str(host.root), "id=c", "--json", *words]) == 2
    message = json.loads(capsys.readouterr().out)["error"]["message"]
    assert all(word in message for word in words)


def test_pointers_in_place_of_images_leave_the_other_questions(tmp_path, capsys):
    host = Host(tmp_path / "host")
    host.plain(INSECTS)
    host.edit("train.csv", lambda text: text + "a3,wasp\n")
    for path in host.train:
        host.file(path, "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n")
    assert prepare.main([str(host.root), "id=c", "--json"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "git-lfs-pointer" and "on_conflict=" in error["message"]


def test_one_table_as_source(tmp_path, capsys):
    """Pixels are read; of a table whose images lie beside it the folder is asked for; an image is no source."""
    host = Host(tmp_path / "host")
    host.plain(INSECTS)
    pixels = np.random.default_rng(0).integers(0, 255, (30, 64))
    table = pd.DataFrame(pixels, columns=[f"pixel{k}" for k in range(64)]).assign(label=[k % 3 for k in range(30)])
    table.to_csv(tmp_path / "digits.csv", index=False)
    assert prepare.main([str(tmp_path / "digits.csv")]) == 0
    assert len(load_samples(load_card("digits")).train) == 30
    refused(capsys, prepare.main, [host.root / "train.csv", "id=c"], "no-images", f"src.prepare {host.root}")
    assert prepare.main([str(host.root / "train/a0.png"), "id=d"]) == 2


def test_every_fact_that_was_found_is_counted(tmp_path, capsys):
    host = Host(tmp_path / "host")
    host.plain(("bee", "fly"), column="kind", sample=0.5, n=40)
    host.edit("train.csv", lambda text: text.replace("a7,", "gone,"))
    assert prepare.main([str(host.root), "id=c", "--json", "on_bad_image=drop"]) == 0
    evidence = {key: fact["evidence"] for key, fact in json.loads(capsys.readouterr().out)["evidence"].items()}
    counted = {key: (held["explained"], held["total"]) for key, held in evidence.items() if held["total"]}
    assert counted["train.images"] == (39, 40) and "gone" in evidence["train.images"]["against"][0]
    assert counted["train.id"] == counted["train.label"] == counted["target"] == (40, 40)
    assert counted["test.id"] == counted["test.images"] == counted["submission.sample"] == (6, 6)
    assert counted["submission.kind"] == (6, 6) and "metric=log_loss" in evidence["metric"]["rivals"]
    card = (competition_folder("c") / "card.yaml").read_text()
    assert sorted(re.findall(r"\b(\d+) of 40\b", card))[-4:] == ["39", "40", "40", "40"]


def test_a_host_s_own_column_called_row(tmp_path):
    host = Host(tmp_path / "host")
    host.plain(INSECTS, column="kind", sample=None)
    names = [f"a{(7 * k) % 30}" for k in range(30)]
    host.table("train.csv", row=names, kind=[host.train[f"train/{name}.png"] for name in names])
    host.table("sample_submission.csv", row=list(host.test), kind="bee")
    assert prepare.main([str(host.root), "id=c"]) == 0
    samples = load_samples(load_card("c"))
    assert dict(zip(samples.train["id"], labels_of(samples), strict=True)) == {
        path[6:-4]: label for path, label in host.train.items()
    }
    assert list(samples.test["id"]) == list(host.test)
