"""Small competitions in the layouts that hosts really use, each written by one function, with images to learn from.

A builder writes into a folder and returns what a reader must find there. Images of one class share colour and stripes.
"""

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

SIZE = 24
COLOURS = np.array([(200, 40, 40), (40, 180, 60), (50, 70, 210), (210, 190, 40), (170, 50, 190), (40, 190, 190)])


@dataclass
class Layout:
    """What is in the files. `train`: path -> label, a set of labels where several apply. `test`: id -> path, in order.

    `truth`: id -> the answer that scores. `prepare`: words that the user must add.
    """

    source: Path
    train: dict[str, object]
    test: dict[str, str]
    truth: dict[str, object]
    classes: list[str]
    target: str
    kind: str | None
    header: list[str]
    prepare: list[str] = field(default_factory=list)
    group: dict[str, str] | None = None
    lost: int = 0
    separator: str = " "


BUILDERS: dict[str, Callable[[Path], Layout]] = {}


def layout(build: Callable[[Path], Layout]) -> Callable[[Path], Layout]:
    BUILDERS[build.__name__] = build
    return build


def picture(labels: object, seed: int, size: int = SIZE) -> np.ndarray:
    """(size, size, 3) uint8 RGB. One class: its colour and stripes; a set: one corner for each class in it."""
    rng = np.random.default_rng(seed)
    image = rng.normal(110, 25, (size, size, 3))
    for k in sorted(labels) if isinstance(labels, set | frozenset) else [labels]:
        stripes = (np.arange(size) // (2 + k % 3)) % 2
        patch = COLOURS[k % 6] * (0.6 + 0.4 * (stripes[:, None, None] if k % 2 else stripes[None, :, None]))
        if isinstance(labels, set | frozenset):
            half, y, x = size // 2, (k // 2 % 2) * (size // 2), (k % 2) * (size // 2)
            image[y : y + half, x : x + half] = patch[:half, :half] + rng.normal(0, 20, (half, half, 3))
        else:
            image = 0.75 * patch + 0.25 * image + rng.normal(0, 15, image.shape)
    return image.clip(0, 255).astype(np.uint8)


def gray_picture(label: int, seed: int, size: int) -> np.ndarray:
    """(size, size) integers from 0 to 255, whose brightness tells the class too."""
    return (picture(label, seed, size).mean(axis=2) * (0.5 + 0.25 * label)).clip(0, 255).astype(int)


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.suffix.lower() if path.suffix.lower() in (".jpg", ".png", ".tif", ".bmp") else ".jpg"
    path.write_bytes(cv2.imencode(kind, image[:, :, ::-1])[1].tobytes())


def csv(path: Path, table: pd.DataFrame, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False, **options)


def zipped(folder: Path, archive: Path) -> Path:
    """The folder as a zip, with the litter that macOS adds."""
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                file.write(path, path.relative_to(folder))
        file.writestr("__MACOSX/._x.jpg", b"litter")
        file.writestr("._train.csv", b"litter")
    return archive


def numbers(count: int, classes: int, seed: int = 0) -> list[int]:
    """Classes of `count` rows, every class among them, in no order."""
    return np.random.default_rng(seed).permutation(np.arange(count) % classes).tolist()


def parts(classes: int, train: int = 72, test: int = 24) -> tuple[list[int], list[int]]:
    return numbers(train, classes, 1), numbers(test, classes, 2)


def shuffled(items: list) -> list:
    return [items[k] for k in np.random.default_rng(7).permutation(len(items))]


@layout
def cactus(folder: Path) -> Layout:
    """Ids with extension, a probability, the images in a zip in the zip, one folder deeper than its name says."""
    train, test = parts(2)
    inner = folder / "inner"
    for part, rows in (("train", train), ("test", test)):
        for i, label in enumerate(rows):
            save(inner / part / part / f"{part[0]}{i}.jpg", picture(label, i + 100 * (part == "test")))
        zipped(inner / part, folder / f"{part}.zip")
    shutil.rmtree(inner)
    csv(folder / "train.csv", pd.DataFrame({"id": [f"t{i}.jpg" for i in range(72)], "has_cactus": train}))
    ids = [f"t{i}.jpg" for i in range(24)]
    csv(folder / "sample_submission.csv", pd.DataFrame({"id": ids, "has_cactus": 0.5}))
    source = zipped(folder, folder.parent / "cactus.zip")
    return Layout(
        source,
        {f"train/t{i}.jpg": str(label) for i, label in enumerate(train)},
        {one: f"test/{one}" for one in ids},
        dict(zip(ids, map(str, test), strict=True)),
        ["0", "1"],
        "binary",
        "probability",
        ["id", "has_cactus"],
    )


@layout
def grades(folder: Path) -> Layout:
    """Ordinal grades, ids without extension, a table of test ids, leading zeros."""
    train, test = parts(5, 80, 25)
    names = [f"{i:04d}" for i in range(80)]
    ids = [f"{i + 1000:05d}" for i in range(25)]
    for name, label in zip(names, train, strict=True):
        save(folder / "train_images" / f"{name}.png", picture(label, int(name)))
    for name, label in zip(ids, test, strict=True):
        save(folder / "test_images" / f"{name}.png", picture(label, int(name)))
    csv(folder / "train.csv", pd.DataFrame({"id_code": names, "diagnosis": train}))
    csv(folder / "test.csv", pd.DataFrame({"id_code": ids}))
    csv(folder / "sample_submission.csv", pd.DataFrame({"id_code": ids, "diagnosis": 0}))
    return Layout(
        folder,
        {f"train_images/{name}.png": str(label) for name, label in zip(names, train, strict=True)},
        {one: f"test_images/{one}.png" for one in ids},
        dict(zip(ids, map(str, test), strict=True)),
        list("01234"),
        "ordinal",
        "label",
        ["id_code", "diagnosis"],
    )


@layout
def headerless(folder: Path) -> Layout:
    """Two tables without header, aligned by line, two eyes of each patient, and no sample submission."""
    train, test = parts(2, 140, 30)
    names = [f"{i // 2 + 10}_{'left' if i % 2 else 'right'}" for i in range(140)]
    ids = [f"{i // 2 + 900}_{'left' if i % 2 else 'right'}" for i in range(30)]
    for part, rows, labels in (("train", names, train), ("test", ids, test)):
        for i, (name, label) in enumerate(zip(rows, labels, strict=True)):
            save(folder / part / f"{name}.jpeg", picture(label, i + 500 * (part == "test")))
    csv(folder / "train_img.csv", pd.DataFrame(names), header=False)
    csv(folder / "train_label.csv", pd.DataFrame(train), header=False)
    csv(folder / "test_img.csv", pd.DataFrame(ids), header=False)
    return Layout(
        folder,
        {f"train/{name}.jpeg": str(label) for name, label in zip(names, train, strict=True)},
        {one: f"test/{one}.jpeg" for one in ids},
        dict(zip(ids, map(str, test), strict=True)),
        ["0", "1"],
        "binary",
        "label",
        ["id", "label"],
        group={f"train/{name}.jpeg": name.split("_")[0] for name in names},
    )


@layout
def breeds(folder: Path) -> Layout:
    """One probability a class, under the classes' names, the sample's rows in no order."""
    train, test = parts(4)
    names = ["boston_bull", "dingo", "eskimo_dog", "pug"]
    save_all(folder, train, test)
    csv(folder / "labels.csv", pd.DataFrame({"id": [f"a{i}" for i in range(72)], "breed": [names[k] for k in train]}))
    ids = shuffled([f"b{i}" for i in range(24)])
    csv(folder / "sample_submission.csv", pd.DataFrame({"id": ids, **dict.fromkeys(names, 0.25)}))
    return Layout(
        folder,
        {f"train/a{i}.jpg": names[k] for i, k in enumerate(train)},
        {one: f"test/{one}.jpg" for one in ids},
        {one: names[test[int(one[1:])]] for one in ids},
        names,
        "multiclass",
        "columns",
        ["id", *names],
    )


def save_all(folder: Path, train: list, test: list, ending: str = ".jpg") -> None:
    """train/a0.jpg ... and test/b0.jpg ..."""
    for i, label in enumerate(train):
        save(folder / "train" / f"a{i}{ending}", picture(label, i))
    for i, label in enumerate(test):
        save(folder / "test" / f"b{i}{ending}", picture(label, 5000 + i))


@layout
def cats(folder: Path) -> Layout:
    """Labels in file names, test ids that are numbers and sort as such."""
    train, test = parts(2)
    names = ["cat", "dog"]
    paths = {}
    for i, label in enumerate(train):
        path = f"train/{names[label]}.{i}.jpg"
        save(folder / path, picture(label, i))
        paths[path] = names[label]
    for i, label in enumerate(test):
        save(folder / "test" / f"{i + 1}.jpg", picture(label, 900 + i))
    ids = [str(i + 1) for i in range(24)]
    csv(folder / "sample_submission.csv", pd.DataFrame({"id": ids, "label": 0.5}))
    return Layout(
        folder,
        paths,
        {one: f"test/{one}.jpg" for one in ids},
        {one: names[test[int(one) - 1]] for one in ids},
        names,
        "binary",
        "probability",
        ["id", "label"],
    )


@layout
def onehot(folder: Path) -> Layout:
    """Four one-hot columns, training and test images in one folder, told apart by a beginning."""
    train, test = parts(4)
    names = ["healthy", "multiple_diseases", "rust", "scab"]
    for part, rows in (("Train", train), ("Test", test)):
        for i, label in enumerate(rows):
            save(folder / "images" / f"{part}_{i}.jpg", picture(label, i + 300 * (part == "Test")))
    marks = np.eye(4, dtype=int)[train]
    csv(
        folder / "train.csv",
        pd.DataFrame({"image_id": [f"Train_{i}" for i in range(72)]} | dict(zip(names, marks.T, strict=True))),
    )
    ids = [f"Test_{i}" for i in range(24)]
    csv(folder / "test.csv", pd.DataFrame({"image_id": ids}))
    csv(folder / "sample_submission.csv", pd.DataFrame({"image_id": ids} | dict.fromkeys(names, 0.25)))
    return Layout(
        folder,
        {f"images/Train_{i}.jpg": names[k] for i, k in enumerate(train)},
        {one: f"images/{one}.jpg" for one in ids},
        {one: names[k] for one, k in zip(ids, test, strict=True)},
        names,
        "multiclass",
        "columns",
        ["image_id", *names],
    )


SETS = [{0}, {1}, {2}, {0, 1}, {1, 2}, {0, 2}, {0, 1, 2}]
ILLS = ["complex", "rust", "scab"]


@layout
def sets(folder: Path) -> Layout:
    """Several labels in a cell, separated by blanks; healthy stands alone."""
    train = [({3} if k == 7 else SETS[k]) for k in numbers(120, 8)]
    test = [({3} if k == 7 else SETS[k]) for k in numbers(24, 8, 3)]
    names = [*ILLS, "healthy"]
    save_all(folder, train, test)
    cells = [" ".join(names[k] for k in sorted(one)) for one in train]
    csv(folder / "train.csv", pd.DataFrame({"image": [f"a{i}.jpg" for i in range(120)], "labels": cells}))
    ids = [f"b{i}.jpg" for i in range(24)]
    csv(folder / "sample_submission.csv", pd.DataFrame({"image": ids, "labels": "healthy"}))
    return Layout(
        folder,
        {f"train/a{i}.jpg": {names[k] for k in one} for i, one in enumerate(train)},
        {one: f"test/{one}" for one in ids},
        {one: {names[k] for k in held} for one, held in zip(ids, test, strict=True)},
        sorted(names),
        "multilabel",
        "set",
        ["image", "labels"],
    )


@layout
def tags(folder: Path) -> Layout:
    """Lists of labels with | between them, in the table and in the sample; blanks within the labels; WebP."""
    train = [SETS[k] for k in numbers(98, 7)]
    test = [SETS[k] for k in numbers(28, 7, 3)]
    names = ["blue sky", "deep snow", "tree"]
    for part, rows in (("train", train), ("test", test)):
        for i, one in enumerate(rows):
            path = folder / part / f"photo.{i}.webp"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture_of = picture(frozenset(one), i + 700 * (part == "test"))
            path.write_bytes(cv2.imencode(".webp", picture_of[:, :, ::-1])[1].tobytes())
    cells = ["|".join(names[k] for k in sorted(one)) for one in train]
    csv(folder / "annotations.csv", pd.DataFrame({"photo": [f"photo.{i}" for i in range(98)], "tags": cells}))
    ids = [f"photo.{i}" for i in range(28)]
    csv(folder / "sampleSubmission.csv", pd.DataFrame({"photo": ids, "tags": "blue sky|tree"}))
    return Layout(
        folder,
        {f"train/photo.{i}.webp": {names[k] for k in one} for i, one in enumerate(train)},
        {one: f"test/{one}.webp" for one in ids},
        {one: {names[k] for k in held} for one, held in zip(ids, test, strict=True)},
        names,
        "multilabel",
        "set",
        ["photo", "tags"],
        separator="|",
    )


@layout
def subsets(folder: Path) -> Layout:
    """One table of all images in one folder, whose column says train, val or test; the test rows are labelled too."""
    names, rows = ["ant", "bee", "cow"], numbers(130, 3)
    part = ["train" if i < 80 else "val" if i < 100 else "test" for i in range(130)]
    for i, label in enumerate(rows):
        save(folder / "img" / f"{i:05}.png", picture(label, i))
    order = shuffled(list(range(130)))
    table = {"image": [f"{i:05}.png" for i in order], "subset": [part[i] for i in order]}
    csv(folder / "metadata.csv", pd.DataFrame(table | {"species": [names[rows[i]] for i in order]}))
    tested = [i for i in order if part[i] == "test"]
    return Layout(
        folder,
        {f"img/{i:05}.png": names[rows[i]] for i in order if part[i] != "test"},
        {f"{i:05}.png": f"img/{i:05}.png" for i in tested},
        {f"{i:05}.png": names[rows[i]] for i in tested},
        names,
        "multiclass",
        "label",
        ["id", "species"],
    )


@layout
def seedlings(folder: Path) -> Layout:
    """A folder a class, with blanks in the names, everything one folder deeper, in a tar."""
    train, test = parts(3)
    names = ["Black grass", "Charlock", "Common Chickweed"]
    deep = folder / "plant data"
    paths = {}
    for i, label in enumerate(train):
        path = f"plant data/train/{names[label]}/{i:03x}.png"
        save(folder / path, picture(label, i))
        paths[path] = names[label]
    ids = shuffled([f"f{i}.png" for i in range(24)])
    for i, label in enumerate(test):
        save(deep / "test" / f"f{i}.png", picture(label, 900 + i))
    csv(deep / "sample_submission.csv", pd.DataFrame({"file": ids, "species": "Charlock"}))
    archive = shutil.make_archive(str(folder.parent / "seedlings"), "gztar", folder)
    return Layout(
        Path(archive),
        paths,
        {one: f"plant data/test/{one}" for one in ids},
        {one: names[test[int(one[1:-4])]] for one in ids},
        names,
        "multiclass",
        "label",
        ["file", "species"],
    )


@layout
def paddy(folder: Path) -> Layout:
    """A table and folders that both name the class, further columns, and a sample with empty answers."""
    train, test = parts(3)
    names = ["blast", "normal", "tungro"]
    paths = {f"train_images/{names[k]}/1{i:03d}.jpg": names[k] for i, k in enumerate(train)}
    for i, (path, label) in enumerate(zip(paths, train, strict=True)):
        save(folder / path, picture(label, i))
    ids = [f"2{i:03d}.jpg" for i in range(24)]
    for i, label in enumerate(test):
        save(folder / "test_images" / ids[i], picture(label, 900 + i))
    table = {"image_id": [path.rpartition("/")[2] for path in paths], "label": list(paths.values())}
    csv(folder / "train.csv", pd.DataFrame(table | {"variety": ["ADT45", "Ponni"] * 36, "age": numbers(72, 40)}))
    csv(folder / "sample_submission.csv", pd.DataFrame({"image_id": ids, "label": ""}))
    return Layout(
        folder,
        paths,
        {one: f"test_images/{one}" for one in ids},
        {one: names[k] for one, k in zip(ids, test, strict=True)},
        names,
        "multiclass",
        "label",
        ["image_id", "label"],
    )


@layout
def tubes(folder: Path) -> Layout:
    """Several 0/1 columns and the patient; ids with dots and no extension."""
    names = ["ETT - Abnormal", "CVC - Normal", "Swan Ganz"]
    train = [SETS[k] if k < 7 else set() for k in numbers(120, 8)]
    test = [SETS[k] if k < 7 else set() for k in numbers(24, 8, 3)]
    uids = [f"1.2.826.0.1.{3680043 + i}.{i}" for i in range(144)]
    for i, one in enumerate([*train, *test]):
        save(folder / ("train" if i < 120 else "test") / f"{uids[i]}.jpg", picture(frozenset(one), i))
    marks = {name: [int(k in one) for one in train] for k, name in enumerate(names)}
    patients = [f"p{i // 4:02d}" for i in range(120)]
    csv(folder / "train.csv", pd.DataFrame({"StudyInstanceUID": uids[:120]} | marks | {"PatientID": patients}))
    csv(folder / "sample_submission.csv", pd.DataFrame({"StudyInstanceUID": uids[120:]} | dict.fromkeys(names, 0)))
    return Layout(
        folder,
        {f"train/{uids[i]}.jpg": {names[k] for k in one} for i, one in enumerate(train)},
        {one: f"test/{one}.jpg" for one in uids[120:]},
        {one: {names[k] for k in held} for one, held in zip(uids[120:], test, strict=True)},
        names,
        "multilabel",
        "columns",
        ["StudyInstanceUID", *names],
        group={f"train/{uids[i]}.jpg": patients[i] for i in range(120)},
    )


@layout
def moles(folder: Path) -> Layout:
    """Columns that give the answer away stand in the training table only; patients; few positives."""
    train = [int(i % 6 == 0) for i in range(120)]
    test = numbers(30, 2, 5)
    for part, rows in (("train", train), ("test", test)):
        for i, label in enumerate(rows):
            save(folder / "jpeg" / part / f"ISIC_{part[:2]}{i}.jpg", picture(label, i + 900 * (part == "test")))
    both = {
        "patient_id": [f"IP_{i // 3}" for i in range(120)],
        "sex": ["male", "female"] * 60,
        "age_approx": numbers(120, 50),
    }
    table = {"image_name": [f"ISIC_tr{i}" for i in range(120)]} | both
    table |= {
        "diagnosis": ["melanoma" if k else "nevus" for k in train],
        "benign_malignant": ["benign", "malignant"] * 60,
        "target": train,
    }
    csv(folder / "train.csv", pd.DataFrame(table))
    ids = [f"ISIC_te{i}" for i in range(30)]
    csv(folder / "test.csv", pd.DataFrame({"image_name": ids, "patient_id": "IP_900", "sex": "male", "age_approx": 40}))
    csv(folder / "sample_submission.csv", pd.DataFrame({"image_name": ids, "target": 0}))
    return Layout(
        folder,
        {f"jpeg/train/ISIC_tr{i}.jpg": str(k) for i, k in enumerate(train)},
        {one: f"jpeg/test/{one}.jpg" for one in ids},
        {one: str(k) for one, k in zip(ids, test, strict=True)},
        ["0", "1"],
        "binary",
        "probability",
        ["image_name", "target"],
        prepare=["metric=auc"],
        group={f"jpeg/train/ISIC_tr{i}.jpg": f"IP_{i // 3}" for i in range(120)},
    )


@layout
def cancer(folder: Path) -> Layout:
    """TIFF files, ids without extension; a black, a truncated, an empty and a missing image, a broken test image."""
    train, test = parts(2, 80, 24)
    save_all(folder, train, test, ".tif")
    save(folder / "train" / "a3.tif", np.zeros((SIZE, SIZE, 3), np.uint8))
    whole = (folder / "train" / "a4.tif").read_bytes()
    (folder / "train" / "a4.tif").write_bytes(whole[: len(whole) // 2])
    (folder / "train" / "a5.tif").write_bytes(b"")
    (folder / "train" / "a6.tif").unlink()
    (folder / "test" / "b2.tif").write_bytes(b"no image")
    csv(folder / "train_labels.csv", pd.DataFrame({"id": [f"a{i}" for i in range(80)], "label": train}))
    ids = [f"b{i}" for i in range(24)]
    csv(folder / "sample_submission.csv", pd.DataFrame({"id": ids, "label": 0}))
    return Layout(
        folder,
        {f"train/a{i}.tif": str(k) for i, k in enumerate(train) if i not in (4, 5, 6)},
        {one: f"test/{one}.tif" for one in ids if one != "b2"},
        {one: str(k) for one, k in zip(ids, test, strict=True)},
        ["0", "1"],
        "binary",
        "label",
        ["id", "label"],
        prepare=["on_bad_image=drop"],
        lost=1,
    )


@layout
def whales(folder: Path) -> Layout:
    """The label is called Id; ranked answers; classes with one or two images."""
    train = [*numbers(70, 5), 5, 6, 6]
    test = numbers(24, 5, 3)
    names = ["new_whale", "w_1287fbc", "w_98baff9", "w_7554f44", "w_1eafe46", "w_rare01", "w_rare02"]
    save_all(folder, train, test)
    csv(
        folder / "train.csv", pd.DataFrame({"Image": [f"a{i}.jpg" for i in range(73)], "Id": [names[k] for k in train]})
    )
    ids = [f"b{i}.jpg" for i in range(24)]
    csv(folder / "sample_submission.csv", pd.DataFrame({"Image": ids, "Id": " ".join(names[:5])}))
    return Layout(
        folder,
        {f"train/a{i}.jpg": names[k] for i, k in enumerate(train)},
        {one: f"test/{one}" for one in ids},
        {one: names[k] for one, k in zip(ids, test, strict=True)},
        sorted(names),
        "multiclass",
        "ranked",
        ["Image", "Id"],
    )


@layout
def drivers(folder: Path) -> Layout:
    """Folders c0, c1, ... inside imgs/train, a list of drivers, file names that come again in each folder."""
    train, test = parts(4, 96, 24)
    names = ["c0", "c1", "c2", "c3"]
    paths, rows = {}, []
    for i, label in enumerate(train):
        path = f"imgs/train/c{label}/img_{i // 4}.jpg"
        while path in paths:
            path = path.replace("img_", "img_9")
        save(folder / path, picture(label, i))
        paths[path] = f"c{label}"
        rows.append((f"p{i % 12:03d}", f"c{label}", path.rpartition("/")[2]))
    csv(folder / "driver_imgs_list.csv", pd.DataFrame(rows, columns=["subject", "classname", "img"]))
    ids = [f"img_{i + 7000}.jpg" for i in range(24)]
    for i, label in enumerate(test):
        save(folder / "imgs" / "test" / ids[i], picture(label, 900 + i))
    csv(folder / "sample_submission.csv", pd.DataFrame({"img": ids} | dict.fromkeys(names, 0.25)))
    return Layout(
        folder,
        paths,
        {one: f"imgs/test/{one}" for one in ids},
        {one: names[k] for one, k in zip(ids, test, strict=True)},
        names,
        "multiclass",
        "columns",
        ["img", *names],
        group={path: row[0] for path, row in zip(paths, rows, strict=True)},
    )


@layout
def herbarium(folder: Path) -> Layout:
    """COCO json, class numbers with gaps, deep folders, a list of test records, another name for the label."""
    train, test = parts(3)
    kinds = [3, 17, 204]
    paths = {f"train_images/{k:03d}/0{k % 7}/{k:05d}__{i:03d}.jpg": str(kinds[k]) for i, k in enumerate(train)}
    for i, (path, label) in enumerate(zip(paths, train, strict=True)):
        save(folder / path, picture(label, i))
    images = [
        {"file_name": path.removeprefix("train_images/"), "image_id": f"{k:05d}__{i:03d}", "license": 1}
        for i, (path, k) in enumerate(zip(paths, train, strict=True))
    ]
    notes = [
        {"image_id": image["image_id"], "category_id": kinds[k], "genus_id": k % 2, "institution_id": i % 5}
        for i, (image, k) in enumerate(zip(images, train, strict=True))
    ]
    categories = [{"category_id": k, "scientificName": f"Acer {k}", "family": "Acer"} for k in kinds]
    (folder / "train_metadata.json").write_text(
        json.dumps({"annotations": notes, "images": images, "categories": categories})
    )
    records = [{"image_id": str(i), "file_name": f"000/test-{i:06d}.jpg", "license": 0} for i in range(24)]
    for record, label in zip(records, test, strict=True):
        save(folder / "test_images" / record["file_name"], picture(label, 900 + int(record["image_id"])))
    (folder / "test_metadata.json").write_text(json.dumps(records))
    ids = [record["image_id"] for record in records]
    csv(folder / "sample_submission.csv", pd.DataFrame({"Id": ids, "Predicted": 42}))
    return Layout(
        folder,
        paths,
        {one: f"test_images/000/test-{int(one):06d}.jpg" for one in ids},
        {one: str(kinds[k]) for one, k in zip(ids, test, strict=True)},
        ["3", "17", "204"],
        "multiclass",
        "label",
        ["Id", "Predicted"],
    )


@layout
def pixels(folder: Path) -> Layout:
    """Images as numbers in the table, a test table without ids, submission ids that count from 1."""
    train, test = parts(3)
    gray = [gray_picture(k, i, 14).ravel() for i, k in enumerate([*train, *test])]
    names = [f"pixel{k}" for k in range(196)]
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(gray[:72], columns=names)
    table.insert(0, "label", train)
    csv(folder / "train.csv", table)
    csv(folder / "test.csv", pd.DataFrame(gray[72:], columns=names))
    ids = [str(i + 1) for i in range(24)]
    csv(folder / "sample_submission.csv", pd.DataFrame({"ImageId": ids, "Label": 0}))
    return Layout(
        folder,
        {f"pixels/train/{i + 1}.png": str(k) for i, k in enumerate(train)},
        {one: f"pixels/test/{one}.png" for one in ids},
        {one: str(k) for one, k in zip(ids, test, strict=True)},
        ["0", "1", "2"],
        "multiclass",
        "label",
        ["ImageId", "Label"],
    )


@layout
def faces(folder: Path) -> Layout:
    """One table of pixels in a single cell, with a column that tells training, public and private test apart."""
    train, test = parts(3)
    cells = [" ".join(map(str, gray_picture(k, i, 12).ravel())) for i, k in enumerate([*train, *test])]
    usage = ["Training"] * 72 + ["PublicTest"] * 12 + ["PrivateTest"] * 12
    csv(folder / "icml_faces.csv", pd.DataFrame({"emotion": [*train, *test], "Usage": usage, "pixels": cells}))
    ids = [str(i + 73) for i in range(24)]
    return Layout(
        folder,
        {f"pixels/train/{i + 1}.png": str(k) for i, k in enumerate(train)},
        {one: f"pixels/test/{one}.png" for one in ids},
        {one: str(k) for one, k in zip(ids, test, strict=True)},
        ["0", "1", "2"],
        "multiclass",
        "label",
        ["id", "emotion"],
    )


@layout
def food(folder: Path) -> Layout:
    """Labels in file names, a validation set of the host, submission ids padded with zeros."""
    train, test = parts(3)
    held = numbers(21, 3, 9)
    seen: dict[tuple[str, int], int] = {}
    paths = {}
    for part, rows in (("training", train), ("validation", held)):
        for i, label in enumerate(rows):
            number = seen[part, label] = seen.get((part, label), -1) + 1
            path = f"{part}/{label}_{number}.jpg"
            save(folder / path, picture(label, i + 400 * (part == "validation")))
            paths[path] = str(label)
    ids = [f"{i:04d}" for i in range(24)]
    for one, label in zip(ids, test, strict=True):
        save(folder / "testing" / f"{one}.jpg", picture(label, 900 + int(one)))
    csv(folder / "sampleSubmission.csv", pd.DataFrame({"Id": ids, "Category": 0}))
    return Layout(
        folder,
        paths,
        {one: f"testing/{one}.jpg" for one in ids},
        {one: str(k) for one, k in zip(ids, test, strict=True)},
        ["0", "1", "2"],
        "multiclass",
        "label",
        ["Id", "Category"],
    )


@layout
def inclass(folder: Path) -> Layout:
    """Paths relative to the data folder, two training rows without file, an index column in the sample."""
    train, test = parts(3)
    names = ["train/MONARCH/", "train/VICEROY/", "train/PEACOCK/"]
    paths = {f"{names[k]}{i:03d}.jpg": str(k) for i, k in enumerate(train)}
    for i, (path, label) in enumerate(zip(paths, train, strict=True)):
        save(folder / "sub" / path, picture(label, i))
    table = pd.DataFrame({"filepaths": list(paths), "label_id": train})
    more = pd.DataFrame({"filepaths": ["train/MONARCH/900.jpg", "train/PEACOCK/901.jpg"], "label_id": [0, 2]})
    csv(folder / "sub" / "train.csv", pd.concat([table, more]))
    ids = [f"test/{i}.jpg" for i in range(24)]
    for i, label in enumerate(test):
        save(folder / "sub" / ids[i], picture(label, 900 + i))
    csv(folder / "sub" / "test.csv", pd.DataFrame({"filepaths": ids}))
    pd.DataFrame({"filepaths": ids, "label_id": numbers(24, 3, 8)}).to_csv(folder / "sub" / "sample_submission.csv")
    return Layout(
        folder,
        {f"sub/{path}": label for path, label in paths.items()},
        {one: f"sub/{one}" for one in ids},
        {one: str(k) for one, k in zip(ids, test, strict=True)},
        ["0", "1", "2"],
        "multiclass",
        "label",
        ["", "filepaths", "label_id"],
        prepare=["on_bad_image=drop"],
    )


@layout
def animals(folder: Path) -> Layout:
    """One folder a class and nothing else, mixed extensions: nothing to submit."""
    train = numbers(90, 3)
    names = ["cane", "farfalla", "ragno"]
    paths = {f"raw-img/{names[k]}/x{i}.{('jpeg', 'jpg', 'png', 'JPG')[i % 4]}": names[k] for i, k in enumerate(train)}
    for i, (path, label) in enumerate(zip(paths, train, strict=True)):
        save(folder / path, picture(label, i))
    (folder / "translate.py").write_text("translate = {}")
    return Layout(folder, paths, {}, {}, names, "multiclass", None, [])


@layout
def dirty(folder: Path) -> Layout:
    """Windows code page, semicolons, a class NA, capitals that differ, ids 0001, .JPG, and a PNG that lies."""
    train, test = parts(3, 90, 24)
    names = ["NA", "Été", "None"]
    cells = [names[k] if i % 9 else f" {names[k].upper()}" for i, k in enumerate(train)]
    for i, label in enumerate(train):
        save(folder / "Train" / f"{i:04d}.JPG", picture(label, i))
    (folder / "Train" / "0007.JPG").write_bytes(cv2.imencode(".png", picture(train[7], 7)[:, :, ::-1])[1].tobytes())
    for i, label in enumerate(test):
        save(folder / "Test" / f"{i + 90:04d}.JPG", picture(label, 900 + i))
    table = pd.DataFrame({"Bild": [f"{i:04d}" for i in range(90)], "Klasse": cells})
    csv(folder / "train.csv", table, sep=";", encoding="cp1252")
    ids = shuffled([f"{i + 90:04d}" for i in range(24)])
    csv(folder / "sample_submission.csv", pd.DataFrame({"Bild": ids, "Klasse": "NA"}), encoding="utf-8-sig")
    return Layout(
        folder,
        {f"Train/{i:04d}.JPG": names[k] for i, k in enumerate(train)},
        {one: f"Test/{one}.JPG" for one in ids},
        {one: names[test[int(one) - 90]] for one in ids},
        sorted(names),
        "multiclass",
        "label",
        ["Bild", "Klasse"],
    )


@layout
def birds(folder: Path) -> Layout:
    """Four text files without header that share a key: paths, class numbers, class names, and which part."""
    train, test = parts(3)
    names = ["001.Albatross", "002.Auklet", "003.Bunting"]
    rows = [*train, *test]
    paths = [f"{names[k]}/{names[k].split('.')[1]}_{i:04d}.jpg" for i, k in enumerate(rows)]
    for i, (path, label) in enumerate(zip(paths, rows, strict=True)):
        save(folder / "images" / path, picture(label, i))
    keys = list(range(1, 97))
    parts_of = [int(i < 72) for i in range(96)]
    for file, cells in (
        ("images", paths),
        ("image_class_labels", [k + 1 for k in rows]),
        ("train_test_split", parts_of),
    ):
        csv(folder / f"{file}.txt", pd.DataFrame({"key": keys, "value": cells}), sep=" ", header=False)
    csv(folder / "classes.txt", pd.DataFrame({"key": [1, 2, 3], "value": names}), sep=" ", header=False)
    return Layout(
        folder,
        {f"images/{path}": str(k + 1) for path, k in zip(paths[:72], train, strict=True)},
        {path: f"images/{path}" for path in paths[72:]},
        {path: str(k + 1) for path, k in zip(paths[72:], test, strict=True)},
        ["1", "2", "3"],
        "multiclass",
        "label",
        ["id", "label"],
    )


@layout
def collection(folder: Path) -> Layout:
    """train, valid and test, each with a folder a class: a labelled test set and no sample."""
    names = ["blue jay", "crow", "robin"]
    paths, tested = {}, {}
    for part, count in (("train", 72), ("valid", 15), ("test", 24)):
        for i, label in enumerate(numbers(count, 3)):
            path = f"birds/{part}/{names[label]}/{i:03d}.jpg"
            save(folder / path, picture(label, i + {"train": 0, "valid": 400, "test": 900}[part]))
            (tested if part == "test" else paths)[path] = names[label]
    tested = dict(sorted(tested.items()))
    return Layout(
        folder,
        paths,
        {path: path for path in tested},
        tested,
        names,
        "multiclass",
        "label",
        ["id", "label"],
    )


@layout
def leaves(folder: Path) -> Layout:
    """Tables in zips, many columns of measurements, exact class columns, all images in one folder."""
    train, test = parts(3)
    names = ["Acer_Capillipes", "Acer_Circinatum", "Quercus"]
    for i, label in enumerate([*train, *test]):
        save(folder / "images" / f"{i + 1}.jpg", picture(label, i))
    features = {f"margin{k}": np.random.default_rng(k).random(72).round(6) for k in range(5)}
    tables = {
        "train": pd.DataFrame({"id": range(1, 73), "species": [names[k] for k in train]} | features),
        "test": pd.DataFrame({"id": range(73, 97)} | {key: values[:24] for key, values in features.items()}),
        "sample_submission": pd.DataFrame({"id": range(73, 97)} | dict.fromkeys(names, 1 / 3)),
    }
    for name, table in tables.items():
        text = io.StringIO()
        table.to_csv(text, index=False)
        with zipfile.ZipFile(folder / f"{name}.csv.zip", "w") as file:
            file.writestr(f"{name}.csv", text.getvalue())
    ids = [str(i) for i in range(73, 97)]
    return Layout(
        folder,
        {f"images/{i + 1}.jpg": names[k] for i, k in enumerate(train)},
        {one: f"images/{one}.jpg" for one in ids},
        {one: names[k] for one, k in zip(ids, test, strict=True)},
        names,
        "multiclass",
        "columns",
        ["id", *names],
    )


@layout
def traps(folder: Path) -> Layout:
    """Camera traps: a place for each image, several images a sequence, a sample that names the label otherwise."""
    train, test = parts(3, 120, 24)
    kinds = [0, 14, 22]
    save_all(folder / "imgs", train, test)
    places = [i % 15 for i in range(120)]
    table = {
        "category_id": [kinds[k] for k in train],
        "date_captured": [f"2011-05-{i % 28 + 1:02d} 10:00" for i in range(120)],
    }
    table |= {"file_name": [f"a{i}.jpg" for i in range(120)], "id": [f"a{i}" for i in range(120)], "location": places}
    table |= {"seq_id": [f"s{i % 30}" for i in range(120)], "width": 24}
    csv(folder / "train.csv", pd.DataFrame(table))
    more = {
        "date_captured": "2012-05-01 10:00",
        "file_name": [f"b{i}.jpg" for i in range(24)],
        "id": [f"b{i}" for i in range(24)],
    }
    csv(folder / "test.csv", pd.DataFrame(more | {"location": 90, "seq_id": "s900", "width": 24}))
    ids = [f"b{i}" for i in range(24)]
    csv(folder / "sample_submission.csv", pd.DataFrame({"Id": ids, "Predicted": 0}))
    return Layout(
        folder,
        {f"imgs/train/a{i}.jpg": str(kinds[k]) for i, k in enumerate(train)},
        {one: f"imgs/test/{one}.jpg" for one in ids},
        {one: str(kinds[k]) for one, k in zip(ids, test, strict=True)},
        ["0", "14", "22"],
        "multiclass",
        "label",
        ["Id", "Predicted"],
        group={f"imgs/train/a{i}.jpg": str(places[i]) for i in range(120)},
    )
