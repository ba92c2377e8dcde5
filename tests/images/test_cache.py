"""Squares come out of the cache as they went in, whoever builds it and whatever happens meanwhile."""

import errno
import fcntl
import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import termios
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from src.core.paths import REPOSITORY, relative_paths
from src.images.cache import ImageCache
from src.images.dataset import Feed, PlainRows
from src.images.decode import decode
from src.images.fits import fitted
from src.images.local_copy import local_folder
from src.images.pixel_format import STANDARD
from src.images.prepare_steps.steps import crop_border
from src.images.read import read_for_both, read_image
from src.images.stream import ImageStream
from src.predict import main as predict
from src.train import main as train
from tests.fixtures.codes import raises
from tests.fixtures.notes import names_it
from tests.fixtures.warm_python import KILL, warm_python

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
    return ImageCache.open(paths[0].parent.parent / "cache", paths, side, fit, **how)


def files(paths: list[Path]) -> list[str]:
    """What lies in the cache folder, besides the lock."""
    return sorted(set(os.listdir(paths[0].parent.parent / "cache")) - {"lock"})


# The messages of another process, each after its code.
CODED = (
    "from src.core.console import messages_to\n"
    "told = messages_to(lambda text, code: print(code, text, flush=True)); told.__enter__()\n"
)


def other_process(
    paths: list[Path], then: str = "", before: str = "", under: list[str] | None = None, **how
) -> subprocess.Popen:
    """Open the cache of `paths` in a process of its own, which prints what it says after its code, then `ready`.

    under: a command that starts it.
    """
    if "local" in how:
        before, how = before + f"local = Path({how['local']!r})\n", {k: v for k, v in how.items() if k != "local"}
    else:
        before += "local = None\n"
    code = (
        "import sys, time; from pathlib import Path; from src.images.cache import ImageCache\n"
        f"{CODED}"
        f"{before}"
        f"paths = [Path(path) for path in {[str(path) for path in paths]}]\n"
        f"cache = ImageCache.open(paths[0].parent.parent / 'cache', paths, {SIDE}, 'stretch', local=local, **{how})\n"
        f"print('ready', int(cache.batch(range(len(cache))).sum()), flush=True)\n{then}"
    )
    return subprocess.Popen(
        [*([*under, sys.executable] if under else [warm_python()]), "-u", "-c", code],
        cwd=REPOSITORY,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
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


def test_the_second_time_nothing_is_built(paths, messages):
    first = opened(paths)
    made = first.file.stat()
    assert len(messages) == 1 and "12 images" in messages[0]
    again = opened(paths)
    assert len(messages) == 1 and again.file.stat() == made and np.array_equal(again[5], first[5])


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


def test_a_moved_competition_keeps_its_cache(paths, tmp_path, messages):
    name = opened(paths).file.name
    moved = (tmp_path / "competition").rename(tmp_path / "elsewhere")
    messages.clear()
    cache = opened([moved / "data" / path.name for path in paths])
    assert cache.file.name == name and not messages


def test_a_cache_of_hashes_is_that_of_the_files_bytes(paths, messages):
    digests = list(range(12))
    file = opened(paths, digests=digests).file
    messages.clear()
    for path in paths:
        os.utime(path)
    assert opened(paths, digests=digests).file == file and not messages
    assert opened(paths, digests=[99, *digests[1:]]).file != file


def test_an_exchanged_image_is_noticed_by_training_and_prediction(tiny, capsys):
    """Two test images of the same size and time change places: so do their answers."""
    data = tiny / "competition" / "tiny" / "data"
    for image in data.glob("*/*.png"):
        image.write_bytes(cv2.imencode(".bmp", cv2.imread(str(image)))[1].tobytes())
    assert train(["config=tiny", "fold=0", "machine.cache_max_gb=1"]) == 0 and predict(["config=tiny"]) == 0
    (run,) = (tiny / "runs" / "tiny").glob("tiny*")
    table = run / "seed0" / "fold0" / "logits" / "test-identity.npz"
    before, blue, red = np.load(table), data / "test" / "0501.png", data / "test" / "0503.png"
    content = blue.read_bytes(), red.read_bytes()
    for image, other in ((blue, content[1]), (red, content[0])):
        facts = image.stat()
        image.write_bytes(other)
        os.utime(image, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert predict(["config=tiny"]) == 0
    after = np.load(table)
    places = [list(before["id"]).index(name) for name in ("0501", "0503")]
    assert np.array_equal(after["logits"][places], before["logits"][places[::-1]])
    assert not np.array_equal(after["logits"][places], before["logits"][places])


def broken(paths: list[Path]) -> list[Path]:
    """The images with three broken ones among them: row 2 is cut off, 5 is empty, 7 is gone."""
    paths[2].write_bytes(paths[2].read_bytes()[:-40])
    paths[5].write_bytes(b"")
    paths[7].unlink()
    return paths


def test_all_broken_images_are_told_together(paths, messages):
    with raises("bad-image", "3 of 12") as problem:
        opened(broken(paths))
    text = str(problem.value)
    for row, reason in ((2, "truncated"), (5, "empty"), (7, "missing")):
        assert any(str(paths[row]) in line and reason in line for line in text.splitlines())
    messages.clear()
    with raises("bad-image", "3 of 12"):
        opened(paths)
    assert not messages, "the images were all decoded again to find the same faults"


def test_a_long_list_is_cut_after_ten(paths):
    for path in paths[:11]:
        path.write_bytes(b"")
    with raises("bad-image", "11 of 12") as problem:
        opened(paths)
    assert sum(str(path) in str(problem.value) for path in paths) == 10


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
    build.send_signal(KILL)
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


def flip(file: Path, at: int, count: int = 64) -> None:
    """Invert bytes, as a disk or a copy does that goes wrong; the time of the file stays, as it does then."""
    facts, data = file.stat(), bytearray(file.read_bytes())
    data[at : at + count] = bytes(byte ^ 0xFF for byte in data[at : at + count])
    file.write_bytes(data)
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))


@pytest.mark.parametrize("at", [0, 60, 128, 4000, 12 * SIDE * SIDE * 3 + 128])
def test_a_small_cache_that_is_damaged_is_made_anew(paths, at, notes):
    """In its header, its pixels or its checksums: the pixels were once all inverted, and 0.897 became 0.210."""
    true = opened(paths).batch(range(12))
    flip(opened(paths).file, at)
    assert np.array_equal(opened(paths).batch(range(12)), true)
    assert notes.take().texts("cache-remade")
    opened(paths)
    assert not notes


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"bytes": 1, "images": 12, "faults": []}', "\udcff\0"])
def test_a_mark_that_is_damaged_makes_the_cache_anew(paths, content, notes):
    cache = opened(paths)
    true = cache.batch(range(12))
    cache.file.with_suffix(".json").write_bytes(content.encode(errors="surrogateescape"))
    assert np.array_equal(opened(paths).batch(range(12)), true)
    assert notes.texts("cache-remade")


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every cache count as one too large to be checked as a whole when it is opened."""
    monkeypatch.setattr("src.images.cache.CHECKED_AT_OPEN", 0)


def test_a_large_cache_is_checked_row_by_row_as_it_is_read(paths, large):
    true = opened(paths).batch(range(12))
    file = opened(paths).file
    flip(file, 128 + 5 * SIDE * SIDE * 3, 1)
    cache = opened(paths)
    assert np.array_equal(cache.batch(range(5)), true[:5])
    with raises("damaged-file") as error:
        cache.batch([3, 5])
    assert "row 5" in str(error.value)
    assert np.array_equal(opened(paths).batch(range(12)), true), "the next command did not make it anew"


def test_what_is_wrong_in_a_loader_s_process_is_told_in_one_line(paths, large):
    """torch puts the whole traceback of a worker into the message."""
    flip(opened(paths).file, 128, 1)
    feed = Feed(PlainRows(opened(paths), SIDE), 1, torch.device("cpu"))
    with raises("damaged-file") as error:
        list(feed([np.array([4, 5]), np.array([0])]))
    assert len(str(error.value).splitlines()) == 1
    paths[3].write_bytes(b"")
    feed = Feed(PlainRows(ImageStream(paths, SIDE, "stretch"), SIDE), 1, torch.device("cpu"))
    with raises("bad-image", paths[3].name) as fault:
        list(feed([np.array([3])]))
    assert len(str(fault.value).splitlines()) == 1


def without_checksums(file: Path) -> None:
    """As caches were before they had any."""
    mark = file.with_suffix(".json")
    facts = json.loads(mark.read_text())
    file.write_bytes(file.read_bytes()[: -4 * 12])
    mark.write_text(json.dumps({k: v for k, v in facts.items() if k != "crc32"} | {"bytes": file.stat().st_size}))


def test_an_older_cache_is_made_anew_once_and_that_is_said(paths, notes):
    cache = opened(paths)
    true = cache.batch(range(12))
    without_checksums(cache.file)
    notes.clear()
    for _ in range(2):
        assert np.array_equal(opened(paths).batch(range(12)), true)
        assert notes.codes == ["cache-remade", "cache-made"]


@pytest.mark.parametrize("old", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_cache_on_a_read_only_mount_serves(paths, old):
    cache = opened(paths)
    if old:
        without_checksums(cache.file)
    folder = paths[0].parent.parent
    mount = ["unshare", "--map-root-user", "--user", "--mount"]
    mount += ["sh", "-c", f'mount --bind {folder} {folder} && mount -o remount,ro,bind {folder} && exec "$@"', "sh"]
    if subprocess.run([*mount, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    process = other_process(paths, under=mount)
    told, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert told.split() == ["ready", str(sum_of(cache))]


def test_a_cache_deleted_by_hand_is_built_again(paths):
    cache = opened(paths)
    wanted = cache.batch(range(12))
    cache.file.unlink()
    opened(paths, "crop")
    assert len(files(paths)) == 2, "a mark without its file was left"
    assert np.array_equal(opened(paths).batch(range(12)), wanted)


def test_a_cache_that_others_delete_is_read_on_and_told_where_it_cannot_be(paths, large):
    """By hand, or by a process that saw it without its mark; and another one may stand in its place."""
    wanted, cache = opened(paths).batch(range(12)), opened(paths)
    cache.file.unlink()
    cache.file.with_suffix(".json").unlink()
    with raises("damaged-file"):
        pickle.loads(pickle.dumps(cache)).batch([0])  # as a loader's process opens it
    again = opened(paths)
    assert np.array_equal(cache.batch(range(12)), wanted)
    cache._damage("is damaged")
    assert opened(paths).file == again.file, "the new one keeps its mark"


def test_two_processes_build_once(paths):
    """The first is held up by a named pipe until the second is seen to wait."""
    data = paths[6].read_bytes()
    paths[6].unlink()
    os.mkfifo(paths[6])
    first = other_process(paths, workers=1)
    assert first.stdout.readline().startswith("cache-made ")
    second = other_process(paths, workers=1)
    assert second.stdout.readline().startswith("waiting ")
    paths[6].write_bytes(data)
    (one, _), (two, _) = first.communicate(timeout=20), second.communicate(timeout=20)
    assert one == two and one.startswith("ready"), "the second built again, or saw other pixels"
    assert first.returncode == second.returncode == 0


def test_two_processes_look_at_the_images_once(paths):
    """So do all cells of a cluster that begin together, each on its own machine. The first is held up at one image."""
    code = (
        "import sys; from pathlib import Path; import src.competition.quality.image_index as room\n"
        f"{CODED}"
        f"paths, real = {[str(path) for path in paths]}, room._one\n"
        "def slow(path, row, *more): return (row == 6 and sys.stdin.readline(), real(path, row, *more))\n"
        "room._one = slow\n"
        "look = room.index_images(paths, Path(paths[0]).parent.parent / 'cache'); print('seen', look.hash.sum())"
    )
    look = {"cwd": REPOSITORY, "text": True, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    first = subprocess.Popen([warm_python(), "-u", "-c", code], **look)
    assert names_it(first.stdout.readline(), 12)
    second = subprocess.Popen([warm_python(), "-u", "-c", code], **look)
    assert second.stdout.readline().startswith("waiting ")
    (one, _), (two, _) = first.communicate("go on\n", timeout=20), second.communicate("", timeout=20)
    assert one == two
    assert one.startswith("seen")


def test_what_others_are_writing_into_the_folder_is_left_to_them(paths):
    folder = paths[0].parent.parent / "cache"
    folder.mkdir()
    (folder / ".look.npz.abc.part").touch()
    opened(paths)
    assert (folder / ".look.npz.abc.part").exists()


def test_a_full_disk_is_told_before_the_work(paths):
    with raises("no-room-for-cache", "3600.00 TB"):
        opened(paths, side=10_000_000)
    assert files(paths) == []


def test_beyond_the_bound_images_are_decoded_on_demand(paths, notes):
    cache = opened(paths)
    stream = opened(paths, max_gb=1e-6, side=SIDE)
    assert isinstance(stream, ImageStream) and len(stream) == 12 and notes[-1].code == "decoded-on-demand"
    assert np.array_equal(stream.batch([4, 0]), cache.batch([4, 0])) and np.array_equal(stream[-1], cache[-1])
    assert np.array_equal(pickle.loads(pickle.dumps(stream))[3], cache[3])
    assert stream.batch([]).shape == (0, SIDE, SIDE, 3)
    with pytest.raises(IndexError):
        stream[12]


def test_a_stream_looks_at_every_header_first(paths):
    with raises("bad-image", "2 of 12"):
        opened(broken(paths), max_gb=1e-6)
    stream = opened(paths, max_gb=1e-6, bad="report")
    assert list(stream.faults) == [5, 7] and not stream.batch([5, 7, -5, -7]).any()
    with raises("bad-image", paths[2].name):  # row 2: its header is whole
        stream[2]


def bound(caches: float) -> float:
    """So many caches of twelve images, in GB."""
    return caches * (12 * (SIDE * SIDE * 3 + 4) + 128) / 1e9


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
        reader.send_signal(KILL)
        reader.communicate()
    opened(paths, "pad", max_gb=bound(1))
    assert not set(used) & set(files(paths)), "its reader is dead, so it may go"


def sum_of(cache: ImageCache) -> int:
    return int(cache.batch(range(len(cache))).sum())


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_read_the_same(paths, start):
    cache = opened(paths)
    with multiprocessing.get_context(start).Pool(1) as pool:
        assert pool.apply(sum_of, (cache,)) == sum_of(cache)
    assert len(pickle.dumps(cache)) < 1000


def test_wrong_settings(paths):
    for how, code, name in (
        ({"fit": "squeeze"}, "unknown-fit", "squeeze"),
        ({"side": 0}, "bad-value", "images.load_size"),
        ({"prepare": ("polish",)}, "unknown-prepare-step", "polish"),
    ):
        with raises(code, name):
            opened(paths, **how)
    with raises("no-images"):
        ImageCache.open(paths[0].parent, [], SIDE, "crop")


def test_the_mark_tells_what_the_cache_holds(paths):
    cache = opened(paths, "crop", prepare=("crop_border",))
    facts = json.loads(cache.file.with_suffix(".json").read_text())
    assert (facts["images"], facts["side"], facts["fit"], facts["prepare"]) == (12, SIDE, "crop", ["crop_border"])
    assert np.load(cache.file).shape == (12, SIDE, SIDE, 3)


def test_the_bar_is_for_terminals_only(paths, capfd):
    opened(paths)
    assert capfd.readouterr().err == ""
    shutil.rmtree(paths[0].parent.parent / "cache")
    ours, terminal = os.openpty()
    code = (
        "from pathlib import Path; from src.images.cache import ImageCache; from src.core import console\n"
        "console.BAR_SECONDS = 0\n"
        f"ImageCache.open(Path({str(paths[0].parent)!r}), [Path({str(paths[0])!r})], 8, 'crop')"
    )
    termios.tcsetwinsize(terminal, (24, 100))
    subprocess.run([warm_python(), "-c", code], cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=terminal, check=True)
    os.close(terminal)
    assert b"caching images" in os.read(ours, 10_000)
    os.close(ours)


# A copy on a disk of the machine


OURS = f"podium-cache-{os.geteuid()}"


def copies(local: Path) -> list[str]:
    return sorted(path.name for path in (local / OURS / "competition").iterdir() if path.name != "lock")


def test_two_machines_of_two_processes_build_once_and_copy_once_each(paths, tmp_path, messages):
    """Machines that share the competition's folder, each with a disk of its own."""
    locals_ = [tmp_path / "one", tmp_path / "one", tmp_path / "two", tmp_path / "two"]
    lot = [other_process(paths, workers=1, local=str(local)) for local in locals_]
    told = [process.communicate(timeout=60)[0] for process in lot]
    assert all(process.returncode == 0 for process in lot)
    everything = "".join(told)
    assert everything.count("cache-made ") == 1
    for local in set(locals_):
        copied = [line for line in everything.splitlines() if line.startswith("cache-copied ")]
        assert sum(str(local) in line for line in copied) == 1
        assert len(copies(local)) == 2
    assert len({line for line in everything.splitlines() if line.startswith("ready")}) == 1
    # Copied, it is read from there, and the shared folder is not needed.
    shutil.rmtree(paths[0].parent.parent / "cache")
    messages.clear()
    cache = opened(paths, local=tmp_path / "one")
    assert cache.file.is_relative_to(tmp_path / "one")
    assert not messages
    assert np.array_equal(cache[6], fitted(decode(paths[6]), SIDE, "stretch"))


SLOW = "import src.images.local_copy as room; room.CHUNK = 100; room.Bar = lambda *_: Bar()\n"
SLOW += "class Bar:\n def __enter__(self): return self\n def __exit__(self, *_): pass\n"
SLOW += " def update(self, _): print('a chunk', flush=True); time.sleep(60)\n"


def test_a_killed_copy_leaves_nothing_that_counts(paths, tmp_path, messages):
    local = tmp_path / "local"
    built = opened(paths)
    copier = other_process(paths, before=SLOW, local=str(local))
    assert "copying" in copier.stdout.readline()
    assert "a chunk" in copier.stdout.readline()
    copier.send_signal(KILL)
    copier.communicate()
    assert [name[-5:] for name in copies(local)] == [".part"]
    messages.clear()
    cache = opened(paths, local=local)
    assert "copying" in messages[0]
    assert np.array_equal(cache.batch(range(12)), built.batch(range(12)))
    assert copies(local) == files(paths)


def test_a_copy_that_is_not_whole_is_made_again(paths, tmp_path):
    local = tmp_path / "local"
    copy = opened(paths, local=local).file
    whole = copy.read_bytes()
    os.truncate(copy, 1000)
    assert opened(paths, local=local).file == copy
    assert copy.read_bytes() == whole
    copy.with_suffix(".json").unlink()
    copy.write_bytes(bytes(len(whole)))
    assert opened(paths, local=local).file == copy
    assert copy.read_bytes() == whole


def test_bytes_that_are_not_those_that_were_built_are_never_copied(paths, tmp_path, messages, large):
    file, local = opened(paths).file, tmp_path / "local"
    messages.clear()
    true = opened(paths).batch(range(12))
    flip(file, 200)
    cache = opened(paths, local=local)
    assert copies(local) == []
    assert any("damaged" in line for line in messages)
    assert np.array_equal(cache.batch(range(12)), true)
    assert opened(paths, local=local).file.is_relative_to(local)
    assert np.array_equal(opened(paths, local=local).batch(range(12)), true)


def test_copies_are_bounded_and_nothing_else_in_the_folder_is_touched(paths, tmp_path):
    local = tmp_path / "local"
    (local / "competition").mkdir(parents=True)
    for name in ("mine.json", "mine.npy", ".mine.part"):
        (local / "competition" / name).touch()
        (local / name).touch()
    opened(paths, "crop", local=local)
    new = opened(paths, "pad", local=local, max_gb=bound(1)).file
    assert copies(local) == sorted([new.name, new.with_suffix(".json").name])
    assert len(list(local.glob("*mine*"))) == len(list(local.glob("competition/*mine*"))) == 3


@pytest.mark.slow
@pytest.mark.parametrize("found_late", [False, True])
def test_where_the_disk_is_full_the_shared_cache_is_read_and_that_is_said(paths, tmp_path, found_late):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["unshare", "--map-root-user", "--user", "--mount"]
    mount += ["sh", "-c", f'mount -t tmpfs -o size=8k none {small} && exec "$@"', "sh"]
    if subprocess.run([*mount, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    opened(paths)
    before = "import src.images.local_copy as room; room.make_room = lambda *_: None\n" if found_late else ""
    process = other_process(paths, before=before, under=mount, then="print(cache.file)", local=str(small))
    told, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert told.count("no-local-copy ") == 1
    assert told.splitlines()[-1].startswith(str(paths[0].parent.parent / "cache"))


def test_the_folder_of_copies_is_the_user_s_alone(paths, tmp_path):
    before = os.umask(0)
    try:
        opened(paths, local=tmp_path / "local")
    finally:
        os.umask(before)
    assert (tmp_path / "local" / OURS).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("planted", ["by another user", "link"])
def test_pixels_in_a_folder_that_is_not_the_user_s_are_never_read(paths, tmp_path, monkeypatch, planted, notes):
    local = tmp_path / "local"
    copy = opened(paths, local=local).file
    shared = opened(paths)
    true = shared.batch(range(12))
    forged = bytes(SIDE * SIDE * 3)
    copy.write_bytes(copy.read_bytes()[:128] + 12 * forged + 12 * zlib.crc32(forged).to_bytes(4, "little"))
    assert not np.array_equal(opened(paths, local=local).batch(range(12)), true)  # in one's own folder it would count
    if planted == "link":
        (local / OURS).rename(tmp_path / "elsewhere")
        (local / OURS).symlink_to(tmp_path / "elsewhere")
    else:
        me = os.geteuid() + 1
        (local / OURS).rename(local / f"podium-cache-{me}")
        monkeypatch.setattr(os, "geteuid", lambda: me)
    notes.clear()
    cache = opened(paths, local=local)
    assert cache.file == shared.file
    assert np.array_equal(cache.batch(range(12)), true)
    assert notes.codes == ["no-local-copy"]


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["", OURS])
def test_where_nothing_may_be_written_the_shared_cache_is_read_and_that_is_said(paths, tmp_path, closed):
    bare = ["setpriv", "--bounding-set=-all"] if os.geteuid() == 0 else []  # without the rights of root
    if bare and subprocess.run([*bare, "true"], check=False, capture_output=True).returncode:
        pytest.skip("root cannot lay down its rights here")
    shared = opened(paths)
    folder = tmp_path / "local" / closed
    folder.mkdir(parents=True)
    folder.chmod(0o500)
    process = other_process(paths, under=bare, then="print(cache.file)", local=str(tmp_path / "local"))
    told, _ = process.communicate(timeout=30)
    folder.chmod(0o700)
    assert process.returncode == 0
    assert told.count("no-local-copy ") == 1
    assert told.splitlines()[-1] == str(shared.file)


def test_the_folder_may_be_named_by_a_variable_and_must_be_a_whole_path(monkeypatch, tmp_path):
    monkeypatch.setenv("SCRATCH_OF_NODE", str(tmp_path))
    assert local_folder(None) is None
    assert local_folder("$SCRATCH_OF_NODE/x") == tmp_path / "x"
    assert local_folder("~/x") == Path.home() / "x"
    for word in ("scratch", "$NO_SUCH_VARIABLE/x"):
        with raises("bad-value", "machine.cache_local"):
            local_folder(word)


def test_a_training_reads_the_copy(tiny, tmp_path, notes):
    words = ["config=tiny", "fold=0", "train.epochs=1", f"machine.cache_local={tmp_path / 'local'}"]
    assert train(words) == 0
    (copied,) = notes.take().texts("cache-copied")
    assert str(tmp_path / "local" / OURS / "tiny") in copied
    shutil.rmtree(tiny / "competition" / "tiny" / "cache")
    assert train([*words, "seed=1"]) == 0
    assert "cache-made" not in notes.codes


def test_on_nfs_too_the_cache_used_longest_ago_makes_room(paths, monkeypatch):
    """There flock becomes a lock of fcntl, which is refused for a file that is not open for writing."""
    real = fcntl.flock

    def as_on_nfs(file, operation: int) -> None:
        writing = fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
        if operation & fcntl.LOCK_EX and not writing:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", as_on_nfs)
    old = opened(paths, "crop").file.name
    new = opened(paths, "pad", max_gb=bound(1)).file.name
    assert new in files(paths)
    assert old not in files(paths)


@pytest.mark.parametrize(
    "path", ["/a/b/c.jpg", "/a/b/../c.jpg", "/a/bc/d.jpg", "/a/b/./c.jpg", "/a//b/c.jpg", "/x.jpg", "/a/b/ü/c d.jpg"]
)
@pytest.mark.parametrize("folder", ["/a/b", "/a", "/", "/a/b/c"])
def test_a_name_is_that_of_relpath(path, folder):
    """Caches and logits are known by such names."""
    assert list(relative_paths([path], Path(folder))) == [os.path.relpath(path, folder)]


def test_the_first_look_decodes_each_image_once_for_index_and_cache(tiny, monkeypatch):
    """And the squares are those that the cache makes by itself."""
    decoded, real = [], cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda *words: decoded.append(0) or real(*words))
    words = ["config=tiny", "fold=0", "train.epochs=1", "run=first"]
    assert train(words) == 0
    images = len(list((tiny / "competition/tiny/data").glob("t*/*.png")))
    assert len(decoded) == images
    (cache,) = (tiny / "competition/tiny/cache").glob("16px-*.npy")
    together = cache.read_bytes()
    cache.unlink()
    cache.with_suffix(".json").unlink()
    assert train([*words[:-1], "run=again"]) == 0
    assert cache.read_bytes() == together and len(decoded) == 2 * images
    assert not [path for path in cache.parent.iterdir() if path.name.startswith("tmp")]


@pytest.mark.parametrize("side", [40, 300, 700])
def test_a_large_jpeg_is_the_same_read_alone_and_for_both(tmp_path, side):
    path = tmp_path / "a.jpg"
    picture = np.random.default_rng(0).integers(0, 255, (1100, 900, 3)).astype(np.uint8)
    cv2.imwrite(str(path), picture)
    index, cache = read_for_both(path, STANDARD, 128, side)
    assert (index.pixels == read_image(path, STANDARD, 128).pixels).all() and index.size == (1100, 900)
    assert (cache == read_image(path, STANDARD, side).pixels).all()
