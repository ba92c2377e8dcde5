"""Squares come out of the cache as they went in, whoever builds it and whatever happens meanwhile."""

import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import termios
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from src.errors import Problem, UsageError
from src.images.cache import ImageCache
from src.images.decode import ImageFault, decode
from src.images.prepare import crop_border
from src.images.stream import ImageStream, fitted
from src.runs import REPOSITORY, name_from

SIDE = 16


@pytest.fixture
def paths(tmp_path) -> list[Path]:
    """Twelve images of several sizes and kinds in competition/data; the cache goes to competition/cache."""
    folder = tmp_path / "competition" / "data"
    folder.mkdir(parents=True)
    return [picture(folder / f"{row}.{'jpg' if row % 3 else 'png'}", row) for row in range(12)]


def picture(path: Path, seed: int) -> Path:
    small = np.random.default_rng(seed).integers(30, 256, (4, 4, 3), np.uint8)
    cv2.imwrite(str(path), cv2.resize(small, (40 + seed, 30 + 2 * seed)))
    return path


def opened(paths: list[Path], fit: str = "stretch", side: int = SIDE, **how) -> ImageCache | ImageStream:
    how = {"say": lambda line: None} | how
    return ImageCache.open(paths[0].parent.parent / "cache", paths, side, fit, **how)


def files(paths: list[Path]) -> list[str]:
    """What lies in the cache folder, besides the lock."""
    return sorted(set(os.listdir(paths[0].parent.parent / "cache")) - {"lock"})


def other_process(paths: list[Path], then: str = "", **how) -> subprocess.Popen:
    """Open the cache of `paths` in a process of its own, which prints what it says, then `ready`."""
    code = (
        "import sys, time; from pathlib import Path; from src.images.cache import ImageCache\n"
        f"paths = [Path(path) for path in {[str(path) for path in paths]}]\n"
        f"cache = ImageCache.open(paths[0].parent.parent / 'cache', paths, {SIDE}, 'stretch', **{how})\n"
        f"print('ready', int(cache.batch(range(len(cache))).sum()), flush=True)\n{then}"
    )
    return subprocess.Popen(
        [sys.executable, "-uc", code], cwd=REPOSITORY, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def wait_for(condition, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_rows_are_the_decoded_images(paths, fit):
    cache = opened(paths, fit)
    assert isinstance(cache, ImageCache) and len(cache) == 12 and not cache.faults
    for row, path in enumerate(paths):
        assert cache[row].dtype == np.uint8
        assert np.array_equal(cache[row], fitted(decode(path, at_least=SIDE), SIDE, fit))


def test_batches_hold_the_rows_that_are_asked_for(paths):
    cache = opened(paths)
    for rows in ([3, 1, 1, 11], np.array([3, 1, 1, 11]), range(12), []):
        batch = cache.batch(rows)
        assert batch.shape == (len(rows), SIDE, SIDE, 3) and batch.dtype == np.uint8
        assert all(np.array_equal(image, cache[row]) for image, row in zip(batch, rows, strict=True))
    assert np.array_equal(cache[-1], cache[11])
    with pytest.raises(IndexError):
        cache[12]


def test_what_is_handed_out_may_be_written_on(paths):
    cache = opened(paths)
    before = cache[0]
    cache[0][:] = 0
    cache.batch([0])[:] = 0
    assert np.array_equal(cache[0], before)


def test_preparations_are_applied_in_order(paths):
    bordered = np.zeros((60, 90, 3), np.uint8)
    bordered[10:40, 20:80] = decode(paths[0])[:30, :40].repeat(2, 1)[:, :60]
    cv2.imwrite(str(paths[0]), bordered[..., ::-1])
    cache = opened(paths[:1], prepare=("crop_border", "square_pad"))
    cropped = crop_border(decode(paths[0]))
    assert cropped.shape == (30, 60, 3)
    assert np.array_equal(cache[0][4:12], fitted(cropped, SIDE, "pad")[4:12]) and not cache[0][:4].any()


def test_the_second_time_nothing_is_built(paths):
    said = []
    first = opened(paths, say=said.append)
    made = first.file.stat()
    assert len(said) == 1 and "12 images" in said[0]
    again = opened(paths, say=said.append)
    assert len(said) == 1 and again.file.stat() == made and np.array_equal(again[5], first[5])


def test_threads_change_nothing(paths):
    alone = opened(paths, workers=1).file.read_bytes()
    shutil.rmtree(paths[0].parent.parent / "cache")
    assert opened(paths, workers=4).file.read_bytes() == alone


def test_whatever_the_pixels_depend_on_makes_another_cache(paths):
    caches = [opened(paths), opened(paths, "crop"), opened(paths, side=8), opened(paths, prepare=("crop_border",))]
    caches += [opened(paths[::-1]), opened(paths[:-1])]
    old = opened(paths)[0]
    facts = paths[0].stat()
    picture(paths[0], 99)
    os.utime(paths[0], ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
    caches.append(opened(paths))
    assert len({cache.file for cache in caches}) == len(caches)
    assert not np.array_equal(caches[-1][0], old), "an image was changed, and the old pixels came back"


def test_a_moved_competition_keeps_its_cache(paths, tmp_path):
    name = opened(paths).file.name
    moved = (tmp_path / "competition").rename(tmp_path / "elsewhere")
    said = []
    cache = opened([moved / "data" / path.name for path in paths], say=said.append)
    assert cache.file.name == name and not said


def broken(paths: list[Path]) -> list[Path]:
    """The images with three broken ones among them: row 2 is cut off, 5 is empty, 7 is gone."""
    paths[2].write_bytes(paths[2].read_bytes()[:-40])
    paths[5].write_bytes(b"")
    paths[7].unlink()
    return paths


def test_all_broken_images_are_told_together(paths):
    with pytest.raises(Problem) as problem:
        opened(broken(paths))
    text = str(problem.value)
    assert "3 of 12 images" in text and "Remedy" in text
    for row, reason in ((2, "truncated"), (5, "empty"), (7, "missing")):
        assert any(str(paths[row]) in line and reason in line for line in text.splitlines())
    said = []
    with pytest.raises(Problem, match="3 of 12"):
        opened(paths, say=said.append)
    assert not said, "the images were all decoded again to find the same faults"


def test_a_long_list_is_cut_after_ten(paths):
    for path in paths[:11]:
        path.write_bytes(b"")
    with pytest.raises(Problem) as problem:
        opened(paths)
    assert str(problem.value).count(": the file is empty") == 10 and "and 1 more" in str(problem.value)


def test_broken_images_can_be_left_to_the_caller(paths):
    for cache in (opened(broken(paths), bad="report"), opened(paths, bad="report")):
        assert list(cache.faults) == [2, 5, 7] and "missing" in cache.faults[7]
        assert not cache.batch([2, 5, 7]).any()
        assert all(cache[row].any() for row in set(range(12)) - {2, 5, 7})


def test_a_mended_image_is_seen(paths):
    opened(broken(paths), bad="report")
    for row in (2, 5, 7):
        picture(paths[row], row)
    assert opened(paths).faults == {}


def test_a_passing_fault_is_not_kept(paths):
    """What a failing disk does: the same file, size and time, and the bytes are there again."""
    facts, data = paths[3].stat(), paths[3].read_bytes()
    for content, faults in ((data[:100] + bytes(len(data) - 100), [3]), (data, [])):
        paths[3].write_bytes(content)
        os.utime(paths[3], ns=(facts.st_atime_ns, facts.st_mtime_ns))
        cache = opened(paths, bad="report")
        assert list(cache.faults) == faults and cache[3].any() == (not faults)
    assert len(files(paths)) == 2


def test_a_killed_build_leaves_nothing_that_counts(paths):
    """A named pipe in place of an image holds the build up for as long as nobody writes to it."""
    paths[6].unlink()
    os.mkfifo(paths[6])
    build = other_process(paths, workers=1)
    assert "caching" in build.stdout.readline()
    wait_for(lambda: any(name.endswith(".part") for name in files(paths)))
    build.kill()
    build.communicate()
    assert [name[-5:] for name in files(paths)] == [".part"]
    paths[6].unlink()
    picture(paths[6], 6)
    cache = opened(paths)
    assert np.array_equal(cache[6], fitted(decode(paths[6]), SIDE, "stretch"))
    assert files(paths) == sorted([cache.file.name, cache.file.with_suffix(".json").name])


def test_a_file_without_its_mark_does_not_count(paths):
    cache = opened(paths)
    wanted = cache.batch(range(12))
    cache.file.with_suffix(".json").unlink()
    cache.file.write_bytes(bytes(cache.file.stat().st_size))
    assert np.array_equal(opened(paths).batch(range(12)), wanted)


def test_a_cut_off_file_does_not_count(paths):
    cache = opened(paths)
    wanted = cache.batch(range(12))
    os.truncate(cache.file, 1000)
    assert np.array_equal(opened(paths).batch(range(12)), wanted)


def test_a_cache_deleted_by_hand_is_built_again(paths):
    cache = opened(paths)
    wanted = cache.batch(range(12))
    cache.file.unlink()
    opened(paths, "crop")
    assert len(files(paths)) == 2, "a mark without its file was left"
    assert np.array_equal(opened(paths).batch(range(12)), wanted)


def test_two_processes_build_once(paths):
    """The first is held up by a named pipe until the second is seen to wait."""
    data = paths[6].read_bytes()
    paths[6].unlink()
    os.mkfifo(paths[6])
    first = other_process(paths, workers=1)
    assert "caching 12 images" in first.stdout.readline()
    second = other_process(paths, workers=1)
    assert "waiting for another process" in second.stdout.readline()
    paths[6].write_bytes(data)
    (one, _), (two, _) = first.communicate(timeout=20), second.communicate(timeout=20)
    assert one == two and one.startswith("ready"), "the second built again, or saw other pixels"
    assert first.returncode == second.returncode == 0


def test_a_full_disk_is_told_before_the_work(paths):
    with pytest.raises(Problem, match=r"needs [\d.]+ GB and [\d.]+ GB are free"):
        opened(paths, side=10_000_000)
    assert files(paths) == []


def test_beyond_the_bound_images_are_decoded_on_demand(paths):
    said = []
    cache = opened(paths)
    stream = opened(paths, max_gb=1e-6, side=SIDE, say=said.append)
    assert isinstance(stream, ImageStream) and len(stream) == 12 and "on demand" in said[0]
    assert np.array_equal(stream.batch([4, 0]), cache.batch([4, 0])) and np.array_equal(stream[-1], cache[-1])
    assert np.array_equal(pickle.loads(pickle.dumps(stream))[3], cache[3])
    assert stream.batch([]).shape == (0, SIDE, SIDE, 3)
    with pytest.raises(IndexError):
        stream[12]


def test_a_stream_looks_at_every_header_first(paths):
    with pytest.raises(Problem, match="2 of 12 images"):
        opened(broken(paths), max_gb=1e-6)
    stream = opened(paths, max_gb=1e-6, bad="report")
    assert list(stream.faults) == [5, 7] and not stream.batch([5, 7, -5, -7]).any()
    with pytest.raises(ImageFault, match="truncated"):  # row 2: its header is whole
        stream[2]


def bound(caches: float) -> float:
    """So many caches of twelve images, in GB."""
    return caches * (12 * SIDE * SIDE * 3 + 128) / 1e9


def test_the_cache_used_longest_ago_makes_room(paths):
    names = {}
    for age, fit in ((3, "stretch"), (1, "crop"), (2, "pad")):
        names[fit] = opened(paths, fit).file.name
        mark = paths[0].parent.parent / "cache" / names[fit].replace(".npy", ".json")
        os.utime(mark, (time.time() - age * 1000,) * 2)
    opened(paths, "stretch")  # used again: no longer the oldest
    new = opened(paths, prepare=("clahe",), max_gb=bound(3)).file.name
    left = [name for name in files(paths) if name.endswith(".npy")]
    assert sorted(left) == sorted([names["stretch"], names["crop"], new])
    assert len(files(paths)) == 6


def test_a_cache_in_use_is_never_deleted(paths):
    reader = other_process(paths, then="sys.stdin.read()")
    try:
        assert "caching" in reader.stdout.readline() and "ready" in reader.stdout.readline()
        used = files(paths)
        opened(paths, "crop", max_gb=bound(1))
        assert set(used) <= set(files(paths))
    finally:
        reader.kill()
        reader.communicate()
    opened(paths, "pad", max_gb=bound(1))
    assert not set(used) & set(files(paths)), "its reader is dead, so it may go"


def sum_of(cache: ImageCache) -> int:
    return int(cache.batch(range(len(cache))).sum())


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_read_the_same(paths, start):
    cache = opened(paths)
    with multiprocessing.get_context(start).Pool(1) as pool:
        assert pool.apply(sum_of, (cache,)) == sum_of(cache)
    assert len(pickle.dumps(cache)) < 1000


def test_wrong_settings(paths):
    for how, match in (
        ({"fit": "squeeze"}, "stretch, crop, pad"),
        ({"side": 0}, "at least 1"),
        ({"prepare": ("polish",)}, "polish"),
    ):
        with pytest.raises(UsageError, match=match):
            opened(paths, **how)
    with pytest.raises(Problem, match="no images"):
        ImageCache.open(paths[0].parent, [], SIDE, "crop")


def test_the_mark_tells_what_the_cache_holds(paths):
    cache = opened(paths, "crop", prepare=("crop_border",))
    facts = json.loads(cache.file.with_suffix(".json").read_text())
    assert (facts["images"], facts["side"], facts["fit"], facts["prepare"]) == (12, SIDE, "crop", ["crop_border"])
    assert np.load(cache.file).shape == (12, SIDE, SIDE, 3)


def test_the_bar_is_for_terminals_only(paths, capfd):
    opened(paths)
    assert capfd.readouterr() == ("", "")
    shutil.rmtree(paths[0].parent.parent / "cache")
    ours, terminal = os.openpty()
    code = (
        "from pathlib import Path; from src.images.cache import ImageCache\n"
        f"ImageCache.open(Path({str(paths[0].parent)!r}), [Path({str(paths[0])!r})], 8, 'crop')"
    )
    termios.tcsetwinsize(terminal, (24, 100))
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=terminal, check=True)
    os.close(terminal)
    assert b"caching images" in os.read(ours, 10_000)
    os.close(ours)


@pytest.mark.parametrize(
    "path", ["/a/b/c.jpg", "/a/b/../c.jpg", "/a/bc/d.jpg", "/a/b/./c.jpg", "/a//b/c.jpg", "/x.jpg", "/a/b/ü/c d.jpg"]
)
@pytest.mark.parametrize("folder", ["/a/b", "/a", "/", "/a/b/c"])
def test_a_name_is_that_of_relpath(path, folder):
    """Caches and logits are known by such names."""
    assert name_from(path, folder) == os.path.relpath(path, folder)
