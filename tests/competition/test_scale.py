"""What a million rows need: searches, looks and tables that answer as the plain ways do, and hold less at once."""

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from src.competition.card import load_card
from src.competition.quality import duplicates
from src.competition.quality import duplicates as hamming
from src.competition.quality.cleaning import inspect
from src.competition.quality.image_index import index_images
from src.competition.samples import load_samples
from src.core.paths import REPOSITORY, relative_paths
from src.evaluation.averaging import mean_predictions
from src.images.cache import ImageCache
from src.inference.test_predictions import weighted_mean
from src.targets import target_type
from tests.bench.scale import __main__ as door
from tests.bench.scale.table import TITLES, grown, table
from tests.fixtures.notes import names_it
from tests.fixtures.pages import cells


def figures(text: str) -> list[list[str]]:
    """The numbers of every row of a Markdown text's tables."""
    return [[re.sub(r"[^\d.,]", "", cell) for cell in row] for _, *row in cells(text) if row[0] != "---"]


def written(folder: Path, count: int) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for k in range(count):
        small = generator.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{k}.jpg"), cv2.resize(small, (64, 64), interpolation=cv2.INTER_CUBIC))
    return [str(folder / f"{k}.jpg") for k in range(count)]


@pytest.mark.parametrize("many", [1, 1 << 17])
def test_close_hashes_are_found_by_few_parts_and_by_many(many, monkeypatch):
    monkeypatch.setattr(hamming, "MANY", many)
    generator = np.random.default_rng(0)
    hashes = generator.integers(0, 1 << 64, 1500, dtype=np.uint64)
    levels = generator.uniform(0, 255, 1500)
    for k in range(700):
        for bit in generator.choice(64, k % 13, replace=False):
            hashes[1499 - k] = hashes[1499 - k] ^ (np.uint64(1) << np.uint64(bit)) if bit else hashes[k]
    close = np.bitwise_count(hashes[:, None] ^ hashes[None]) <= hamming.RADIUS
    wanted = np.argwhere(np.triu(close, 1))
    assert len(wanted) > 50 and (hamming.near(hashes)[0] == wanted).all()
    found = set(map(tuple, hamming.near(hashes, levels, 14.0)[0]))
    alike = wanted[np.abs(levels[wanted[:, 0]] - levels[wanted[:, 1]]) <= 14]
    assert set(map(tuple, alike)) <= found <= set(map(tuple, wanted))
    assert len(alike) > 0 and len(found) < len(wanted)


def test_crowds_are_told_and_not_compared(monkeypatch):
    monkeypatch.setattr(hamming, "CROWD", 50)
    hashes = np.zeros(200, np.uint64)
    pairs, crowded = hamming.near(hashes)
    assert (len(pairs), crowded) == (0, 200)


def test_a_kept_look_is_the_look_that_was_taken(tmp_path, messages):
    paths = written(tmp_path / "data", 9)
    messages.clear()
    first = index_images(paths, tmp_path / "cache")
    again = index_images(reversed(paths), tmp_path / "cache")
    fewer = index_images(paths[2:5], tmp_path / "cache")
    assert len(messages) == 1 and names_it(messages[0], 9)
    for key in ("digest", "hash", "thumb", "size", "fault", "levels", "contrast"):
        assert np.array_equal(getattr(first, key), getattr(again, key)), key
        assert np.array_equal(getattr(first, key)[2:5], getattr(fewer, key)), key
    assert np.allclose(again.levels, first.thumb.reshape(9, -1).mean(axis=1))
    assert again.of([paths[7], paths[1]]).tolist() == [7, 1]
    with pytest.raises(KeyError, match="strange"):
        again.of(["strange.jpg"])


def test_images_may_lie_on_another_disk(tiny, tmp_path, messages):
    """data/ as a link to where there is room for it."""
    data = tiny / "competition" / "tiny" / "data"
    data.rename(tmp_path / "elsewhere")
    data.symlink_to(tmp_path / "elsewhere")
    card = load_card("tiny")
    messages.clear()
    for _ in range(2):
        samples = inspect(card, load_samples(card))
    assert len(messages) == 1 and len(samples.train) == 45


def test_relative_paths_are_those_of_the_system(tmp_path):
    folder = tmp_path / "a" / "b"
    paths = [tmp_path / "a" / "b" / "x.jpg", tmp_path / "a" / "y.jpg", tmp_path / "z" / "w w.jpg", folder / "c" / "é"]
    text = [*map(str, paths), "/x.jpg", "plain.jpg", f"{folder}/c/..", f"{folder}//d/./e.jpg", f"{folder}/c/../f.jpg"]
    assert list(relative_paths([*paths, *text], folder)) == [os.path.relpath(p, folder) for p in [*paths, *text]]


def test_a_cache_is_the_same_whether_paths_are_text_or_not(tmp_path, messages):
    paths = written(tmp_path / "data", 4)
    messages.clear()
    first = ImageCache.open(tmp_path / "cache", paths, 16, "stretch")
    again = ImageCache.open(tmp_path / "cache", [Path(path) for path in paths], 16, "stretch")
    assert len(messages) == 1 and first.file == again.file
    assert np.array_equal(first.batch([0, 3]), again.batch([0, 3]))


@pytest.mark.parametrize("target", ["multiclass", "multilabel"])
def test_a_mean_of_tables_is_numpy_s_to_the_last_bit(target):
    generator, target = np.random.default_rng(0), target_type(target)
    for count in (1, 2, 7, 18):
        tables = [generator.normal(0, 4, (300, 7)).astype(np.float32) for _ in range(count)]
        wanted = np.mean([target.predictions(table) for table in tables], axis=0)
        assert (mean_predictions(iter(tables), target) == wanted).all()


def test_a_weighted_mean_is_numpy_s_to_the_last_bit():
    generator = np.random.default_rng(0)
    for count in (1, 2, 5, 18):
        tables = [generator.dirichlet(np.ones(7), 300) for _ in range(count)]
        weights = generator.integers(1, 4, count).tolist()
        assert (weighted_mean(iter(tables), weights) == np.average(tables, axis=0, weights=weights)).all()


def test_thumbnails_are_alike_however_many_are_compared_at_a_time(monkeypatch):
    generator = np.random.default_rng(0)
    thumbs = np.repeat(generator.integers(0, 256, (20, 16, 16, 3), dtype=np.uint8), 2, axis=0)
    thumbs[1::2] ^= 3
    pairs = np.stack([generator.integers(0, 40, 300), generator.integers(0, 40, 300)], axis=1)
    kept = duplicates.alike(thumbs, pairs)
    assert (kept == (pairs[:, 0] // 2 == pairs[:, 1] // 2)).all() and kept.any() and not kept.all()
    monkeypatch.setattr(duplicates, "BLOCK", 7)
    assert (duplicates.alike(thumbs, pairs) == kept).all()


def test_costs_are_computed_by_the_power_that_they_show():
    assert grown({1000: 1.0, 10_000: 1.9, 100_000: 10.9}, 1_000_000) == pytest.approx(1 + 9.9 * 11**1.0 / 1.1, rel=0.1)
    squared = {size: 5 + (size / 1e5) ** 2 for size in (1000, 100_000, 1_000_000)}
    assert grown(squared, 10_000_000) == pytest.approx(5 + 1e4, rel=0.01)
    assert np.isnan(grown({1000: 1.0}, 10_000_000))


@pytest.mark.slow
def test_the_bench_measures_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path))
    words = ["--sizes=400,800", "--steps=tables,folds", f"--folder={tmp_path}"]
    assert door.main(words) == 0
    first = (tmp_path / "runs/bench/scale.jsonl").read_text()
    assert len(first.splitlines()) == 4
    assert not list(tmp_path.glob("podium-scale-*"))
    assert door.main(words) == 0 and (tmp_path / "runs/bench/scale.jsonl").read_text() == first
    rows = {first: rest for first, *rest in cells((tmp_path / "runs/bench/scale.md").read_text())}
    assert rows[TITLES["folds"]][0].startswith("0.0")
    assert ["400", "800", "10,000,000"] in figures((tmp_path / "runs/bench/scale.md").read_text())
    assert door.main(["--steps=strange"]) == 2
    assert "strange" in capsys.readouterr().err


def test_folds_and_views_stand_in_a_table_of_their_own():
    counted = {f"folds_{n}": {"cpu": 2.0 * n, "pss": 0.5 + n} for n in (1, 2, 5)}
    counted |= {f"views_{n}": {"cpu": 3.0 * n, "peak": 1.0, "images": 5000.0} for n in (1, 4, 8)}
    text = table({400: {}, 800: counted}, "a machine")
    assert names_it(text, "800") and names_it(text, "5,000")
    several = figures(text)[-6:]
    assert several[:3] == [["1", "2", "5", "10"], ["2", "4", "10", "20"], ["1.5", "2.5", "5.5", "10"]]  # 10.5, to even
    assert several[3:] == [["1", "4", "8", "12"], ["3", "12", "24", "36"], ["1", "1", "1", "1"]]
    assert figures(table({400: {}, 800: {}}, "a machine")) == figures(text)[:-6]


FORKED = """
import os
from tests.bench.scale.several import proportional
held = bytearray(b"x") * 100_000_000
alone = proportional(os.getpid())
asked, told = os.pipe(), os.pipe()
child = os.fork()
if not child:
    os.write(told[1], b"x")
    os.read(asked[0], 1)
    os._exit(0)
os.read(told[0], 1)
print(alone, proportional(os.getpid()), proportional(child))
os.write(asked[1], b"x")
"""


def test_memory_that_processes_share_is_counted_once():
    """Of 100 MB that a parent and its forked child hold, each counts half."""
    done = subprocess.run([sys.executable, "-B", "-c", FORKED], cwd=REPOSITORY, capture_output=True, check=True)
    alone, *both = map(int, done.stdout.split())
    assert alone > 100e6 and min(both) > 50e6 and sum(both) < alone + 25e6


@pytest.mark.slow
def test_every_step_of_the_bench_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path))
    assert door.main(["--sizes=400,800", f"--folder={tmp_path}"]) == 0
    text = (tmp_path / "runs/bench/scale.md").read_text()
    assert ["1", "2", "5", "10"] in figures(text) and all(cell for row in figures(text) for cell in row)
    assert (tmp_path / "runs/bench/scale.png").read_bytes().startswith(b"\x89PNG")
