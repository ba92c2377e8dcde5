"""The preview that prepare leaves: in a real Chromium, with every image under the label that was read."""

import base64
import io
import re

import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib.font_manager import FontProperties, findfont
from PIL import Image

from src import prepare
from src.core.paths import competition_folder
from src.reporting.fonts import families
from tests.fixtures.chromium import Browser
from tests.fixtures.layouts import COLOURS, csv, picture, save

STRANGE = ["<b>bold</b>", "蝶々 butterfly", "فراشة", "a$b_{c}", "é" * 60]


pytestmark = pytest.mark.usefixtures("drawn_preview")


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    made = Browser(tmp_path_factory.mktemp("chromium"))
    yield made
    made.close()


def prepared(folder, *words):
    assert prepare.main([str(folder), *words]) == 0
    return competition_folder(folder.name) / "preview.html"


def host(folder, names, each=6, tests=9):
    """Images of plain colours, one colour a class, and a table that tells the class of each."""
    for k in range(len(names) * each):
        save(folder / "train" / f"{k:03}.png", plain(k % len(names)))
    for k in range(tests):
        save(folder / "test" / f"t{k}.png", plain(k % len(names)))
    csv(folder / "train.csv", pd.DataFrame({"id": [f"{k:03}" for k in range(len(names) * each)], "kind": names * each}))
    csv(folder / "sample_submission.csv", pd.DataFrame({"id": [f"t{k}" for k in range(tests)], "kind": names[0]}))
    return folder


def plain(k):
    return np.tile(COLOURS[k % 6].astype(np.uint8), (20, 20, 1))


def images_of(text):
    """The images of a piece of HTML, (n, height, width, 3) RGB."""
    found = re.findall(r'src="data:image/\w+;base64,([^"]+)"', text)
    return [cv2.imdecode(np.frombuffer(base64.b64decode(one), np.uint8), 1)[:, :, ::-1] for one in found]


def test_each_class_shows_its_own_images(tmp_path, capsys):
    page = prepared(host(tmp_path / "colours", ["ant", "bee", "cow"]))
    assert capsys.readouterr().out.rstrip().splitlines()[-1].endswith(str(page))
    text = page.read_text()
    classes = text[text.index('id="classes"') : text.index('id="test"')]
    rows = re.split(r'<div class="label">', classes)[1:]
    assert len(rows) == 3
    for k, row in enumerate(rows):
        assert ("ant", "bee", "cow")[k] in row and "6 rows" in row
        shown = images_of(row)
        assert len(shown) == 6
        for image in shown:
            assert np.abs(image.astype(int) - COLOURS[k].astype(int)).max() <= 1
    tested = text[text.index('id="test"') : text.index('id="facts"')]
    assert [re.sub(r"\s", "", one) for one in re.findall(r'class="id"[^>]*>([^<]+)<', tested)] == [
        f"t{k}" for k in range(9)
    ]
    for k, image in enumerate(images_of(tested)):
        assert np.abs(image.astype(int) - COLOURS[k % 3].astype(int)).max() <= 1


def test_the_picture_shows_the_same(tmp_path):
    page = prepared(host(tmp_path / "colours", ["ant", "bee", "cow"]))
    drawn = np.asarray(Image.open(io.BytesIO(page.with_suffix(".png").read_bytes())).convert("RGB")).astype(int)
    for k in range(3):
        near = np.abs(drawn - COLOURS[k]).max(axis=2) <= 12
        assert near.sum() > 6 * 80 * 80, f"the images of class {k} are not in the picture"
    places = [np.flatnonzero((np.abs(drawn - COLOURS[k]).max(axis=2) <= 12).any(axis=1))[0] for k in range(3)]
    assert places == sorted(places), "the classes stand one below the other"


@pytest.mark.parametrize(
    ("width", "dark"),
    [(375, True), *(pytest.param(*one, marks=pytest.mark.slow) for one in ((1280, False), (1280, True), (375, False)))],
)
def test_it_opens_in_a_browser_without_a_complaint(tmp_path, browser, width, dark):
    page = prepared(host(tmp_path / "strange", STRANGE))
    browser.open(page, width, dark=dark)
    assert browser.complaints == []
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert sorted(browser.texts(".label strong")) == sorted(STRANGE)
    assert browser.run("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert len(browser.texts("#test .id")) == 9


def test_the_guesses_stand_on_top(tmp_path, browser):
    page = prepared(host(tmp_path / "guessed", ["ant", "bee"]))
    browser.open(page)
    assert any("metric" in text for text in browser.texts("#guesses .value"))
    first = browser.run("document.querySelector('main section').id")
    assert first == "guesses"
    assert prepare.main(["guessed", "confirm=all"]) == 0
    browser.open(page)
    assert browser.texts("#guesses .value") == []
    assert "confirmed" in browser.texts(".badge")


def test_the_files_add_up_on_the_page(tmp_path, browser):
    folder = host(tmp_path / "files", ["ant", "bee"])
    (folder / "train" / "extra.jxl").write_bytes(b"\xff\x0a")
    (folder / "README.md").write_text("hello")
    browser.open(prepared(folder))
    numbers = [int(text) for text in browser.texts("#files td.number")]
    assert numbers[-1] == sum(numbers[:-1]) == sum(1 for path in folder.rglob("*") if path.is_file())
    assert any(".jxl" in text for text in browser.texts("#files tr.aside td"))


def test_a_broken_image_is_shown_as_one(tmp_path, browser):
    folder = host(tmp_path / "broken", ["ant", "bee"])
    (folder / "train" / "000.png").write_bytes(b"no image")
    browser.open(prepared(folder))
    assert len(browser.texts("#classes .broken")) == 1
    assert any("000.png" in text for text in browser.texts(".doubts li"))


@pytest.mark.slow
def test_thousands_of_classes_stay_small(tmp_path, browser):
    names = [f"species {k:04}" for k in range(1500)]
    folder = tmp_path / "many"
    for k in range(3000):
        (folder / "train").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / "train" / f"{k}.png"), plain(k % 1500))
    csv(folder / "train.csv", pd.DataFrame({"id": range(3000), "kind": names * 2}))
    page = prepared(folder, "train.images=train/{id}.png")
    assert page.stat().st_size < 1_500_000
    browser.open(page)
    assert "1500 classes" in browser.texts("#classes-title")[0]
    shown = browser.texts(".label strong")
    assert 20 <= len(shown) < 100
    browser.run("document.querySelector('details').open = true")
    assert len(shown) + len(browser.texts(".names [dir]")) == 1500


def test_several_labels_and_groups_are_said(tmp_path, browser):
    folder = tmp_path / "tags"
    for k in range(24):
        save(folder / "train" / f"{k}.png", picture({k % 3, (k + 1) % 3}, k))
    tags = [f"{'abc'[k % 3]} {'abc'[(k + 1) % 3]}" if k % 2 else "abc"[k % 3] for k in range(24)]
    csv(folder / "train.csv", pd.DataFrame({"id": range(24), "tags": tags}))
    browser.open(prepared(folder, "target=multilabel", "train.label_separator= "))
    assert any(text.startswith("also ") for text in browser.texts(".tiles .more"))


def test_a_font_of_one_weight_is_no_warning(caplog):
    fonts = families(["猫"])
    if len(fonts) == 1:
        pytest.skip("no font here for 猫: apt-get install -y fonts-droid-fallback")
    for weight in ("bold", "normal", "light"):
        findfont(
            FontProperties(family=fonts[-1], weight=weight, size=11.37)
        )  # a size of its own: nothing is remembered
    assert not caplog.records
