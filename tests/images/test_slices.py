"""Slices of a series as the channels of one picture (2.5D): from `prepare` to a checked CSV, and without the run."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from src.competition.competition import open_competition
from src.config.request import parse
from src.core.paths import Run
from src.export.predict import main as answer
from src.images.bags import BagImages
from src.images.slices import by_position, lacks_slices, together
from src.images.stream import ImageStream
from src.predict import main as predict
from src.prepare import main as prepare
from src.report import main as report
from src.reporting.sections.bags import bags as bags_shown
from src.train import main as train
from tests.fixtures.codes import refused
from tests.fixtures.deep_files import write_dicom
from tests.fixtures.notes import Notes, names_it
from tests.images.test_bags import CARD, NET, learn, write_bags

SCANS = ["competition=scans", "train.ema_decay=0.9", "optim.lr=1e-2", *NET]


def write_scans(folder: Path, train_rows: int = 48, test_rows: int = 12) -> pd.Series:
    """Series of eight gray slices, two of which hold a spot: the answer is whether these are neighbours, which no slice
    tells by itself."""
    rng, truth = np.random.default_rng(0), {}
    for part, count in (("train", train_rows), ("test", test_rows)):
        rows = []
        for k in range(count):
            near, first = k % 2 == 0, 1 + int(rng.integers(3))
            series = rng.integers(10, 60, (8, 16, 16)).astype(np.uint8)
            series[[first, first + (1 if near else 3)], 4:12, 4:12] = 230
            (folder / part / f"{part}{k}").mkdir(parents=True)
            for at, image in enumerate(series):
                cv2.imwrite(str(folder / part / f"{part}{k}" / f"{at + 5}.png"), image)
            rows.append((f"{part}{k}", "near" if near else "far"))
        truth[part] = pd.DataFrame(rows, columns=["scan", "spots"])
    truth["train"].to_csv(folder / "train.csv", index=False)
    truth["test"].assign(spots="far").to_csv(folder / "sample_submission.csv", index=False)
    return truth["test"].set_index("scan")["spots"]


def submitted(home: Path) -> pd.Series:
    return pd.read_csv(home / "submissions/scans/r.csv").set_index("scan")["spots"]


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    home, source = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("source") / "scans"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home))
        truth = write_scans(source)
        assert prepare([str(source), "id=scans", "metric=accuracy"]) == 0
        assert train(["fold=0..1", "run=r", "train.epochs=12", "images.slices=3", "model.bag=max", *SCANS]) == 0
        words = ["--tta", "--export", "predict.views=[identity,hflip]"]
        assert predict(["competition=scans", "run=r", *words]) == 0
        yield home, truth


def test_what_neighbours_tell_is_learned_and_answered(scans):
    home, truth = scans
    assert (submitted(home)[truth.index] == truth).mean() > 0.8
    stored = yaml.safe_load((home / "runs/scans/r/config.yaml").read_text())
    assert (stored["images"]["slices"], stored["images"]["bag_size"], stored["model"]["channels"]) == (3, 8, 3)
    (cache,) = (home / "competition/scans/cache").glob("16px-*.npy")
    assert len(np.load(cache)) == 8 * 60  # each slice once


def test_an_exported_file_and_the_page_see_the_same_pictures(scans, tmp_path, capsys):
    home, truth = scans
    capsys.readouterr()
    test = home / "competition/scans/data/test"
    assert answer([str(home / "runs/scans/r/export/r.safetensors"), str(test), "--json"]) == 0
    found = {Path(one["file"]).name: one["answer"] for one in json.loads(capsys.readouterr().out)["answers"]}
    assert found == submitted(home)[truth.index].to_dict()
    assert report(["competition=scans", "run=r"]) == 0


def test_the_whole_series_is_one_picture(scans, notes: Notes):
    home, _ = scans
    words = ["images.slices=6", "images.bag_size=1", "train.epochs=1"]
    shutil.rmtree(home / "competition/scans/data/train/train3", ignore_errors=True)
    lacking = home / "competition/scans/data/train/train3"
    lacking.mkdir()
    for number in (1, 2, 4):  # fewer than are asked for, and one is missing
        cv2.imwrite(str(lacking / f"{number}.png"), np.full((16, 16), 9 * number, np.uint8))
    assert train(["fold=0", "run=whole", *words, *SCANS]) == 0
    stored = yaml.safe_load((home / "runs/scans/whole/config.yaml").read_text())
    assert stored["model"]["channels"] == 6
    assert len(notes.texts("slices-missing", 1)) == 1


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_each_picture_is_a_slice_amid_its_neighbours(kind):
    class Files(ImageStream):
        def batch(self, rows):
            return np.stack([np.full((2, 2, 3), 10 + row, kind) for row in rows])

    images = Files([f"{k}.png" for k in range(9)], 2, "stretch")
    bags = BagImages(images, np.array([0, 1, 7, 9]), 2, slices=3)
    seen = bags.batch([0, 1, 2])[:, 0, 0]
    assert seen.dtype == kind
    assert seen.tolist() == [[10, 10, 10, 0, 0, 0], [11, 11, 12, 15, 16, 16], [17, 17, 18, 17, 18, 18]]
    drawn, _ = bags.drawn([1], (0, 3))
    assert all(b - a <= 1 and c - b <= 1 for a, b, c in drawn[:, 0, 0].astype(int).tolist())
    assert bags.blank(2).shape == (2, 2, 2, 6)
    whole = BagImages(images, np.array([0, 1, 7, 9]), 1, slices=4)
    assert whole.batch([0, 1])[:, 0, 0].tolist() == [[10, 10, 10, 10], [11, 13, 14, 16]]
    series = np.array([0, 1, 1, 1, 2, 2, 2, 3, 3])  # the second bag has two: no picture has slices of both
    bags = BagImages(images, np.array([0, 1, 7, 9]), 6, slices=3, series=series)
    assert bags.batch([1])[0, 0, 0].reshape(6, 3).tolist() == [
        *([11, 11, 12], [11, 12, 13], [12, 13, 13]),
        *([14, 14, 15], [14, 15, 16], [15, 16, 16]),
    ]
    whole = BagImages(images, np.array([0, 1, 7, 9]), 1, slices=4, series=series)
    assert whole.batch([0, 1, 2])[:, 0, 0].tolist() == [[10] * 4, [11, 12, 12, 13], [17, 17, 18, 18]]
    bands = np.arange(12).reshape(1, 3, 1, 1, 4)
    assert together(bands).ravel().tolist() == list(range(12))  # what has no three colours keeps its channels


def write_study(home: Path, series: dict[str, int]) -> None:
    """Answers of several series, so many slices each, whose first pixel tells series and place."""
    folder, rng = home / "competition/study", np.random.default_rng(0)
    for part, count in (("train", 8), ("test", 2)):
        rows = []
        for k in range(count):
            for number, (name, slices) in enumerate(series.items()):
                (folder / "data" / part / f"{part}{k}" / name).mkdir(parents=True)
                for at in range(slices):
                    image = rng.integers(0, 255, (16, 16)).astype(np.uint8)
                    image[0, 0] = 40 * number + 2 * at
                    cv2.imwrite(str(folder / "data" / part / f"{part}{k}" / name / f"{at}.png"), image)
            rows.append((f"{part}{k}", "yes" if k % 2 else "no"))
        pd.DataFrame(rows, columns=["animal", "kind"]).to_csv(folder / f"data/{part}.csv", index=False)
    shutil.copy(folder / "data/test.csv", folder / "data/sample_submission.csv")
    ends = {part: f"{part}/{{animal}}/**/*.png" for part in ("train", "test")}
    (folder / "card.yaml").write_text(CARD.format(bag="files", **ends, test_table="test.csv"))


def test_neighbours_lie_in_one_series(home, capsys):
    write_study(home, {"T1": 3, "T2": 4})
    config = parse(["competition=study", "images.slices=3", *NET]).config
    seen = open_competition(config, Run("study", "r")).images()[0][0, 0].reshape(7, 3)
    assert seen.tolist() == [
        *([0, 0, 2], [0, 2, 4], [2, 4, 4]),
        *([40, 40, 42], [40, 42, 44], [42, 44, 46], [44, 46, 46]),
    ]
    words = ["fold=0", "competition=study", "run=r", "train.epochs=1", *NET]
    refused(capsys, train, [*words, "images.slices=3", "images.bag_size=1"], "several-series", "T1", "T2")
    shutil.rmtree(home / "competition/study")
    write_study(home, {f"view{k}": 1 for k in range(3)})
    refused(capsys, train, [*words, "images.slices=3"], "no-series", "view0")


def write_series(folder: Path, names: list[str], places: list[float | None]) -> list[str]:
    import pydicom

    folder.mkdir(parents=True, exist_ok=True)
    for name, place in zip(names, places, strict=True):
        write_dicom(folder / name, np.zeros((4, 5), np.uint16))
        if place is not None:
            file = pydicom.dcmread(folder / name)
            file.ImagePositionPatient, file.ImageOrientationPatient = [7, 7, place], [1, 0, 0, 0, 1, 0]
            file.save_as(folder / name)
    return [str(folder / name) for name in names]


def test_dicom_files_are_in_the_order_of_their_places(tmp_path):
    names, places = ["a.dcm", "b.dcm", "c.dcm"], [30.0, 10.0, 20.0]
    first = write_series(tmp_path / "first", names, places)
    bare = write_series(tmp_path / "bare", ["IM1", "IM2", "IM4"], places)  # the content tells the kind
    boxed = [f"{path}/box=0,0,2,2" for path in first]
    for bag in (first, bare, boxed):
        found = by_position([bag])
        assert (found.orders[0].tolist(), found.unplaced, found.lacking) == ([1, 2, 0], [], [])
    third = write_series(tmp_path / "third", ["1.dcm", "2.dcm", "4.dcm"], [None, 2.0, 1.0])
    found = by_position([first + third])  # of one series the places are not known: the others are in order all the same
    assert found.orders[0].tolist() == [1, 2, 0, 3, 4, 5]
    assert found.unplaced == found.lacking == [f"{tmp_path}/third"]
    mixed = by_position([["s/1.png", "s/T1/1.png", "s/x.png"]])  # an order of names, in which folders are not together
    assert mixed.orders[0].tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("names", "lacks"),
    [
        (["1", "2", "4"], True),
        (["img_010", "img_020", "img_040"], True),
        (["1", "2", "3"], False),
        (["a3f9", "b7c1", "0d44"], False),  # no numbers of one row
        (["83749283", "11029384", "99182736"], False),
        (["left_1", "right_1", "left_2", "right_4"], False),
    ],
)
def test_numbers_that_leave_one_out(names, lacks):
    series = [f"s/{name}.png" for name in names]
    assert lacks_slices(series) == lacks
    assert by_position([[*series, *(f"t/{one}.png" for one in "123")]]).lacking == ["s"] * lacks


def test_one_picture_of_a_bag_is_no_image_that_counted():
    config = parse(["competition=scans", "images.slices=6", "images.bag_size=1"]).config
    section = bags_shown(SimpleNamespace(competition=SimpleNamespace(config=config)))
    assert section.blocks == () and names_it(section.reading, 6)


def test_slices_that_cannot_be(home, capsys):
    write_bags(home, "files", animals=8, tests=2, most=3)
    words = ["fold=0", "competition=bags", "run=r", "train.epochs=1", *NET]
    refused(capsys, train, [*words, "images.slices=3", "images.tiles=1x2"], "slices-and-tiles")
    refused(capsys, train, [*words, "images.slices=1"], "bad-value")
    card = home / "competition/bags/card.yaml"
    whole = card.read_text()
    for part in ("box=0,0,4,4", "mask=masks/{animal}.png", "frame=1"):  # which bags of files cannot have
        card.write_text(whole.replace("-*.png", f"-*.png/{part}"))
        refused(capsys, train, [*words, "images.slices=3"], "bad-card", part.partition("=")[0])
    card.write_text(whole)
    colours = "augment.transforms=[{ColorJitter: {saturation: [0.5, 1.5]}}]"
    others = [word for word in words if not word.startswith("augment.")]
    refused(capsys, train, [*others, "images.slices=3", colours], "bad-augment", "ColorJitter")
    refused(capsys, train, [*words, "images.slices=3", "model.channels=1"], "unfit-channels")
    assert learn("r", "images.slices=2", epochs=1) == 0
    card.write_text(whole.replace("bag: files\n", "").replace("-*.png", "-8.png"))
    refused(capsys, train, ["fold=0", "competition=bags", "run=s", "images.slices=3", *NET], "no-bags", "bag: files")
