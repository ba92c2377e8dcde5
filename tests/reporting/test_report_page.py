"""The page in a real Chromium: nothing fails, everything is there, and it can be used by mouse, keys and telephone."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import pandas as pd
import pytest
import yaml

from src.config.request import DEMO
from src.core.paths import REPOSITORY
from src.predict import main as predict
from src.report import main as report
from src.reporting.adversarial_validation import ALARM
from src.train import main as train
from tests.fixtures import figures
from tests.fixtures.chromium import Browser
from tests.fixtures.made_up_run import STRANGE, note_prediction, write_many, write_run
from tests.fixtures.notes import names_it
from tests.fixtures.tiny import write_tiny

WIDTHS = [(1280, False), (1280, True), (375, False), (375, True)]
PAGES = ("tiny", "demo", "hundred", "comparison")
LEARNING = {"loss", "score", "lr", "seconds", "images_per_second"}
MISTAKES = {"confusion", "per_class", "confusions", "mistakes"}
DATA = {"brightness", "classes", "examples"}
FIGURES = {  # of each page and section: every picture, and every table with a file of its own
    "tiny": {
        "answer": {"scores", "submissions", "runs"},
        "data": DATA,
        "seen": {"augmented"},
        "learning": LEARNING,
        "mistakes": {"confusion", "per_class"},
        "map": set(),
        "trust": {"calibration", "sureness"},
        "again": {"versions"},
    },
    "demo": {
        "answer": {"scores", "submissions", "runs"},
        "data": DATA,
        "seen": {"augmented"},
        "learning": LEARNING,
        "mistakes": MISTAKES,
        "map": set(),
        "trust": {"calibration", "sureness"},
        "again": {"versions"},
    },
    "hundred": {
        "answer": {"scores", "submissions", "runs", "runs_scores"},
        "data": DATA | {"sizes", "duplicates"},
        "seen": {"augmented"},
        "learning": LEARNING,
        "mistakes": MISTAKES | {"label_issues"},
        "map": set(),
        "trust": {"calibration", "sureness"},
        "again": {"versions"},
    },
    "comparison": {
        "answer": {"scores"},
        "learning": {"loss", "held_out_loss", "score", "lr"},
        "flips": {"flips"},
        "classes": {"classes"},
        "differences": set(),
    },
}
CLASSES = 100


class Pages:
    """A trained run's page, one of the demo, one of a run of a hundred classes, and one of two such runs: each is made
    when it is first asked for."""

    def __init__(self, home: Path) -> None:
        self._home, runs = home, home / "runs"
        self._made = {
            "tiny": (self._tiny, runs / "tiny" / "tiny+train.epochs=2" / "report"),
            "demo": (self._demo, runs / DEMO / "demo" / "report"),
            "hundred": (self._many, runs / "many" / "hundred" / "report"),
            "comparison": (self._many, runs / "many" / "comparisons" / "hundred+other"),
        }

    def __getitem__(self, name: str) -> Path:
        make, folder = self._made[name]
        page = folder / "report.html"
        if not page.exists():
            make()
        return page

    def _tiny(self) -> None:
        write_tiny(self._home)
        words = ["config=tiny", "train.epochs=2", "fold=0..1"]
        assert train(words) == 0 and predict(["--tta", *words]) == 0 and report(words) == 0

    def _demo(self) -> None:
        write_demo(self._home)
        assert report(["run=demo"]) == 0

    def _many(self) -> None:
        write_many(self._home, CLASSES, each=6)
        enlarge_one_and_double_one(self._home / "competition" / "many" / "data" / "train")
        for name, skill in (("other", 3.0), ("hundred", 3.5)):
            note_prediction(write_run(name, skill=skill), name, ("identity", "hflip"), 0.5)
        assert report(["run=hundred"]) == 0 and report(["runs=hundred,other"]) == 0


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Iterator[Pages]:
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("PODIUM_HOME", str(home))
        figures.draw(patch)
        yield Pages(home)


def write_demo(home: Path) -> None:
    """The embedded competition as it stands in the repository, and a made-up run of its own configuration."""
    ignored = shutil.ignore_patterns("cache")
    shutil.copytree(REPOSITORY / "competition" / DEMO, home / "competition" / DEMO, ignore=ignored)
    note_prediction(write_run("demo", config=DEMO, skill=4.0), "demo", ("identity", "hflip"), 0.9)


def enlarge_one_and_double_one(folder: Path) -> None:
    files = sorted(folder.iterdir())
    shutil.copy(files[0], files[1])
    cv2.imwrite(str(files[2]), cv2.resize(cv2.imread(str(files[2])), (40, 30)))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    made = Browser(tmp_path_factory.mktemp("chromium"))
    yield made
    made.close()


# Each page that has only to be written once, and each width once; all of them together are slow.
FAST = {("demo", 1280, False), ("hundred", 375, False), ("comparison", 375, True)}
OPENED = [(name, width, dark) for name in PAGES for width, dark in WIDTHS]
OPENED = [pytest.param(*one, marks=() if one in FAST else pytest.mark.slow) for one in OPENED]


@pytest.mark.parametrize(("name", "width", "dark"), OPENED)
def test_it_opens_without_a_complaint_and_nothing_overflows(browser, pages, name, width, dark):
    browser.open(pages[name], width, dark=dark)
    assert browser.complaints == []
    assert browser.run("document.documentElement.scrollWidth") <= width
    # Nor is anything cut off at the side, but for what scrolls by itself.
    beyond = browser.run(
        "[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, pre, svg, .across, .unseen') "
        f"&& e.getBoundingClientRect().right > {width} + 1).map(e => e.outerHTML.slice(0, 120))"
    )
    assert beyond == []
    paper = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, paper.strip("rgb()").split(","))) < 384) == dark


EVERY = [pytest.param(name, marks=pytest.mark.slow if name == "tiny" else ()) for name in PAGES]  # it is trained first


@pytest.mark.parametrize("name", EVERY)
def test_every_section_is_there_with_its_picture(browser, pages, name):
    browser.open(pages[name])
    readings = browser.run(
        "Object.fromEntries([...document.querySelectorAll('section')].map(s => "
        "[s.id, s.querySelector('.reading').textContent.trim()]))"
    )
    assert all(len(text) > 20 for text in readings.values())
    figures = browser.run(
        "[...document.querySelectorAll('figure[id]')].map(f => [f.closest('section').id, f.id.slice(7), "
        "f.querySelectorAll('td, .bar').length + [...f.querySelectorAll('svg, img')].filter(e => "
        "e.getBoundingClientRect().width > 20 && e.getBoundingClientRect().height > 10 && "
        "(e.tagName != 'IMG' || e.naturalWidth > 0)).length])"
    )
    found = {key: {name for section, name, shown in figures if section == key and shown} for key in readings}
    if name == "tiny":  # whether so small a network makes mistakes is for its processor to say
        found["mistakes"] -= {"confusions", "mistakes", "label_issues"}
    assert found == FIGURES[name]
    links = browser.run("[...document.querySelectorAll('nav a')].map(a => a.getAttribute('href').slice(1))")
    assert links == list(readings)
    assert pages[name].stat().st_size < 10_000_000


@pytest.mark.parametrize("name", ["demo", "hundred"])
def test_beside_each_sure_mistake_is_where_it_was_found(browser, pages, name):
    browser.open(pages[name])
    tiles = browser.run(
        "[...document.querySelectorAll('#figure-mistakes li')].map(t => [...t.querySelectorAll('img')].map(i => "
        "[i.src, i.alt]))"
    )
    assert 0 < len(tiles) <= 6
    for (image, text), (heat, where) in tiles:
        assert image != heat and text.startswith("id ") and where not in ("", text)


def test_the_test_set_is_looked_at_without_a_review(browser, pages):
    browser.open(pages["hundred"])
    (reading,) = browser.texts("#trust .reading")
    auc, low, high = map(float, re.findall(r"\b0\.\d{3}", reading.partition("AUC")[2]))
    assert low <= auc <= high and low <= ALARM and names_it(reading, "fold 0")


def test_what_the_network_saw_is_told_in_full(browser, pages):
    browser.open(pages["demo"])
    config = yaml.safe_load((REPOSITORY / "configs" / "augment" / "upright.yaml").read_text())
    assert yaml.safe_load(browser.texts("#seen pre")[0]) == config["transforms"]
    pictures = browser.run(
        "[...document.querySelectorAll('#figure-augmented li')].map(t => t.querySelectorAll('img').length)"
    )
    assert pictures == [6] * 6


@pytest.mark.parametrize("name", EVERY)
def test_what_is_seen_is_told_in_words_too(browser, pages, name):
    browser.open(pages[name])
    assert browser.run("[...document.images].filter(i => !i.alt.trim() || !i.hasAttribute('width')).length") == 0
    text = "[role=img][aria-label], [role=application][aria-label]"
    silent = f"[...document.querySelectorAll('svg')].filter(s => !s.closest('{text}')).length"
    assert browser.run(silent) == 0
    ids = browser.run("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    assert browser.run("document.documentElement.lang") == "en"
    # What scrolls by itself can be reached by the Tab key.
    stuck = "[...document.querySelectorAll('.scroll, .tall, pre')].filter(e => e.tabIndex != 0).length"
    assert browser.run(stuck) == 0


def test_nothing_moves_after_it_is_shown(browser, pages):
    browser.open(pages["hundred"], 375)
    moved = browser.run(
        "new Promise(done => { let sum = 0; new PerformanceObserver(list => { for (const e of list.getEntries()) "
        "sum += e.value; }).observe({type: 'layout-shift', buffered: true}); setTimeout(() => done(sum), 300); })"
    )
    assert moved < 0.01


def test_colours_stand_out_in_light_and_dark(browser, pages):
    """By the contrast of WCAG 2: 4.5 for text, 3 for lines and marks."""
    for dark in (False, True):
        browser.open(pages["demo"], dark=dark)
        names = ["paper", "panel", "ink", "quiet", "focus", *(f"c{number}" for number in range(7))]
        style = "n => getComputedStyle(document.documentElement).getPropertyValue('--' + n).trim()"
        colours = dict(zip(names, map(luminance, browser.run(f"{json.dumps(names)}.map({style})")), strict=True))
        for name, least in (("ink", 7), ("quiet", 4.5), ("focus", 4.5), *((f"c{number}", 3) for number in range(7))):
            for ground in ("paper", "panel"):
                light, low = sorted((colours[name], colours[ground]), reverse=True)
                assert (light + 0.05) / (low + 0.05) >= least, (name, ground, dark)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_names_in_any_script_are_shown_and_none_becomes_a_tag(browser, pages):
    browser.open(pages["hundred"])
    labels = browser.run("[...document.querySelectorAll('#figure-per_class .label')].map(e => e.textContent)")
    assert len(labels) == CLASSES and set(STRANGE) <= set(labels)
    assert browser.run("document.title") == 'hundred: Many <classes> & "names"'
    assert browser.run("window.broken === undefined && !document.querySelector('main b, img[src=x]')")
    text = browser.run("[...document.images].map(i => i.alt)")
    assert any("a&b <" in alt for alt in text)
    # Were a tag to slip through all the same, the page would run no script but its own.
    browser.run(
        "(s => { s.textContent = 'window.broken = 1'; document.body.append(s); })(document.createElement('script'))"
    )
    assert browser.run("window.broken === undefined")
    assert any("Content Security Policy" in complaint for complaint in browser.complaints)


def test_letters_of_other_scripts_are_no_boxes(browser, pages):
    """Letters that no font of this machine draws look all alike."""
    browser.open(pages["hundred"])
    drawn = (
        "t => { const c = document.createElement('canvas'); const d = c.getContext('2d'); "
        "d.font = '40px ' + getComputedStyle(document.body).fontFamily; d.fillText(t, 9, 60); return c.toDataURL(); }"
    )
    alike = [two for two in ("猫蝶", "กง", "فش", "чп") if browser.run(f"new Set([...'{two}'].map({drawn})).size") == 1]
    if alike and os.environ.get("PODIUM_BROWSER") != "required":
        pytest.skip(f"no font here for {alike}: apt-get install -y fonts-droid-fallback fonts-tlwg-loma-ttf")
    assert not alike


def test_classes_are_found_by_name(browser, pages):
    browser.open(pages["hundred"])
    rows, examples = "#figure-per_class .label", "#figure-examples .line"
    assert len(browser.texts(rows)) == CLASSES
    browser.click("#filter")
    browser.type("SPECIES 04")
    wanted = {f"species {number:03d}" for number in range(40, 50)}
    assert set(browser.texts(rows)) == set(browser.texts(examples)) == wanted
    assert browser.texts("#found") == [f"10 of {CLASSES} classes"]
    change = "(f => {{ f.value = '{}'; f.dispatchEvent(new Event('input')); }})(document.getElementById('filter'))"
    browser.run(change.format("猫"))
    assert browser.texts(rows) == ["猫と蝶"]
    browser.run(change.format("no such class"))
    assert browser.texts("figure:has([data-class]) figcaption") == []  # no title is left without anything under it
    browser.run(change.format(""))
    assert len(browser.texts(rows)) == CLASSES and browser.texts("figure:has([data-class]) figcaption")
    browser.run("scrollTo({top: 3000, behavior: 'instant'})")
    assert browser.run("document.querySelector('.filter').getBoundingClientRect().top") == 0  # it stays at hand


def test_the_confusion_matrix_is_zoomed_by_mouse_and_keys(browser, pages):
    browser.open(pages["hundred"])
    order = browser.run("JSON.parse(document.querySelector('.names').textContent)")
    down, across = ".field .down span", ".field .across span"

    def box() -> list[int]:
        return [int(n) for n in browser.run("document.querySelector('.field svg').getAttribute('viewBox')").split()]

    assert box() == [0, 0, 100, 100] and browser.texts(down) == []
    browser.click("[data-zoom=in]")
    assert box() == [25, 25, 50, 50]
    browser.click("[data-zoom=in]")
    left, top, width, _ = box()
    assert width == 25 and browser.texts(down) == order[top : top + 25] and browser.texts(across) == order[left:][:25]
    browser.run("document.querySelector('.field svg').focus()")
    browser.press("ArrowDown")  # to the middle of what is shown
    row, column = top + 12, left + 12
    for _ in range(14):
        browser.press("ArrowRight")
    assert box() == [left + 2, top, 25, 25]  # the view goes along
    assert cell_told(browser, order) == (row, column + 14, number_at(browser, row, column + 14))
    browser.press("-")
    assert box()[2] == 50
    browser.press("0")
    assert box() == [0, 0, 100, 100]
    browser.press("+")
    assert box()[2] == 50
    browser.click("[data-zoom=out]")
    browser.click(".field svg")  # its middle, the corner of the cells 49 and 50
    assert box()[2] == 50
    row, column, text = cell_told(browser, order)
    assert {row, column} <= {49, 50} and text == number_at(browser, row, column)
    assert len(browser.texts(".matrix .hint .key")) == 2  # the key of the colours stays
    assert browser.texts(".field text") == []
    browser.click("[data-zoom=in]")
    browser.click("[data-zoom=in]")
    left, top, width, _ = box()
    inside = f"r => [[r.x.baseVal.value - {left}, r.y.baseVal.value - {top}], r.dataset.n]"
    cells = browser.run(f"[...document.querySelectorAll('.field [data-n]')].map({inside})")
    shown = sorted(n for place, n in cells if all(0 <= each < width for each in place))
    assert width == 13 and sorted(browser.texts(".field text")) == shown != []


def cell_told(browser: Browser, order: list[str]) -> tuple[int, int, str]:
    (text,) = browser.texts(".told")
    text = re.fullmatch("truth \u2068(.*)\u2069, answer \u2068(.*)\u2069: (.*) images?", text)
    return order.index(text[1]), order.index(text[2]), text[3]


def number_at(browser: Browser, row: int, column: int) -> str:
    return browser.run(f"document.querySelector('[data-n][x=\"{column}\"][y=\"{row}\"]')?.dataset.n ?? '0'")


def test_the_matrix_is_named_only_where_names_can_be_read(browser, pages):
    """On a telephone fewer classes have room; and what was answered wrongly can be seen there."""
    browser.open(pages["hundred"], 375)
    for _ in range(3):
        assert browser.texts(".field .down span") == []
        browser.click("[data-zoom=in]")
    names = browser.run(
        "[...document.querySelectorAll('.field .down span')].map(e => [e.getBoundingClientRect().height, "
        "e.getBoundingClientRect().left - e.parentElement.getBoundingClientRect().left])"
    )
    assert len(names) == 13 and all(height >= 11 and left >= 0 for height, left in names)
    strengths = browser.run("[...document.querySelectorAll('rect.wrong')].map(e => +e.getAttribute('fill-opacity'))")
    assert len(strengths) > 50 and min(strengths) >= 0.75


def test_the_numbers_of_the_matrix_are_those_of_its_table(browser, pages):
    browser.open(pages["hundred"])
    order = browser.run("JSON.parse(document.querySelector('.names').textContent)")
    cell = "r => [+r.getAttribute('y'), +r.getAttribute('x'), +r.dataset.n]"
    cells = browser.run(f"[...document.querySelectorAll('.field [data-n]')].map({cell})")
    text = pd.read_csv(pages["hundred"].parent / "confusion.csv", keep_default_na=False)
    assert {(order[y], order[x]): n for y, x, n in cells} == {(t, a): n for t, a, n in text.itertuples(index=False)}


def test_the_keyboard_alone_reaches_everything(browser, pages):
    browser.open(pages["hundred"])
    usable = 'a[href], button, input, summary, [tabindex="0"]'
    count = browser.run(
        f"[...document.querySelectorAll('{usable}')].filter(e => e.checkVisibility())"
        ".map((e, k) => e.dataset.place = k).length"
    )
    reached = []
    for _ in range(count):
        browser.press("Tab")
        reached.append(browser.run("document.activeElement.dataset.place"))
    assert reached == [str(place) for place in range(count)] and count > 30
    assert browser.run("document.querySelector('.skip').dataset.place") == "0"
    seen = browser.run("getComputedStyle(document.querySelector(':focus-visible')).outlineStyle")
    assert seen == "solid"


def test_on_paper_everything_is_there(browser, pages, tmp_path):
    browser.open(pages["hundred"], dark=True)
    browser.ask("Emulation.setEmulatedMedia", media="print")
    cut = "[...document.querySelectorAll('.tall, .scroll, pre')].filter(e => e.scrollHeight > e.clientHeight + 1 || "
    cut += "getComputedStyle(e).overflowX != 'visible').length"
    assert browser.run(cut) == 0
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.run("document.querySelector('.filter').offsetParent === null")
    browser.paper(tmp_path / "page.pdf")
    paper = (tmp_path / "page.pdf").read_bytes()
    assert paper.startswith(b"%PDF") and len(re.findall(rb"/Type\s*/Page\b", paper)) > 5
    browser.ask("Emulation.setEmulatedMedia", media="")
