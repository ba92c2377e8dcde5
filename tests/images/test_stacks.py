"""Many images in one array: what a stack is, what its rows cost, and the way from `prepare`."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from src import prepare
from src.competition.bags import BAG
from src.competition.card import load_card
from src.competition.samples import load_samples
from src.images.read import identifying_bytes, image_size, looks_like_image, raw_image, read_image
from src.images.readers import is_stack, keys_of
from tests.fixtures.codes import raises

PARTS = ("train", "test")
STACKS = [(9, 8, 8, 3), (3000, 28, 28), (300, 224, 224), (100, 32, 32), (155, 240, 240)]
PICTURES = [(512, 512, 3), (512, 512, 30), (640, 480, 12), (6, 512, 512), (512, 512)]


@pytest.mark.parametrize(("shape", "stack"), [*((one, True) for one in STACKS), *((one, False) for one in PICTURES)])
def test_what_a_stack_is(tmp_path, shape, stack):
    assert is_stack(shape) == stack
    array = np.zeros(shape, np.uint8)
    np.save(tmp_path / "a.npy", array)
    np.savez_compressed(tmp_path / "a.npz", x=array)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", shape, np.uint8)
    rows = shape[0] if stack else 1
    assert [len(keys_of(tmp_path / name)) for name in ("a.npy", "a.npz", "a.h5")] == [rows * stack, rows, rows]
    assert looks_like_image(tmp_path / "a.npy") != stack


@pytest.fixture
def stack(tmp_path) -> np.ndarray:
    held = np.random.default_rng(0).integers(0, 255, (150, 10, 12, 3)).astype(np.uint8)
    np.save(tmp_path / "a.npy", held)
    np.savez_compressed(tmp_path / "a.npz", x=held, y=held[::-1])
    return held


def test_rows_of_every_kind(tmp_path, stack):
    for name in ("a.npy/{}", "a.npz/x/{}"):
        for row in (0, 77, 149):
            path = tmp_path / name.format(row)
            assert (read_image(path).pixels == stack[row]).all() and image_size(path) == (12, 10)
            assert identifying_bytes(path) == stack[row].tobytes()
        for row in ("150", "-1", "one", "1/1"):
            with raises("bad-image", row):
                read_image(tmp_path / name.format(row))


def test_a_stack_is_unpacked_once_for_all_rows_and_threads(tmp_path, stack, monkeypatch):
    loaded = []
    plain = np.lib.npyio.NpzFile.__getitem__
    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", lambda self, key: loaded.append(key) or plain(self, key))
    assert len(keys_of(tmp_path / "a.npz")) == 300 and not loaded  # headers tell the shapes
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda row: read_image(tmp_path / f"a.npz/x/{row}"), range(150)))
    assert (read_image(tmp_path / "a.npz/y/0").pixels == stack[-1]).all()
    assert loaded == ["x", "y"]
    np.savez_compressed(tmp_path / "a.npz", y=stack)  # another file of that name
    assert (read_image(tmp_path / "a.npz/y/0").pixels == stack[0]).all()


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_prepare_finds_the_rows_of_stacks(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("src.reporting.preview.write_preview", lambda done: done.card.folder / "preview.html")
    root, rng = tmp_path / "host", np.random.default_rng(0)
    root.mkdir()
    held = {part: rng.integers(0, 255, (n, 10, 12)).astype(np.uint8) for part, n in (("train", 80), ("test", 70))}
    for part, images in held.items():
        if kind == "npy":
            np.save(root / f"X_{part}.npy", images)
        else:
            np.savez(root / f"{part}.npz", images=images)
    pd.DataFrame({"id": range(80), "kind": ["x", "y"] * 40}).to_csv(root / "train.csv", index=False)
    pd.DataFrame({"id": range(70), "kind": "x"}).to_csv(root / "sample_submission.csv", index=False)
    assert prepare.main([str(root), "id=c"]) == 0
    card = load_card("c")
    template = "X_{}.npy/{{id}}" if kind == "npy" else "{}.npz/images/{{id}}"
    assert [card.train.images, card.test.images] == [template.format(part) for part in ("train", "test")]
    samples = load_samples(card)
    assert (read_image(Path(samples.test["path"][7])).pixels[..., 1] == held["test"][7]).all()


def as_npy(path: Path, volume: np.ndarray) -> None:
    np.save(f"{path}.npy", volume)


def as_nifti(path: Path, volume: np.ndarray) -> None:
    nibabel = pytest.importorskip("nibabel", reason="nibabel is not installed")
    nibabel.save(nibabel.Nifti1Image(volume.transpose(1, 2, 0), np.eye(4)), f"{path}.nii.gz")


@pytest.mark.parametrize(("write", "ending"), [(as_npy, ".npy"), (as_nifti, ".nii")])  # .gz is unpacked
def test_the_slices_of_a_volume_are_a_bag(tmp_path, monkeypatch, write, ending):
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("src.reporting.preview.write_preview", lambda done: done.card.folder / "preview.html")
    root, rng = tmp_path / "host", np.random.default_rng(0)
    for part, count in (("train", 4), ("test", 2)):
        (root / part).mkdir(parents=True)
        for k in range(count):
            write(root / part / f"{part[1]}{k}", rng.integers(0, 3000, (66 + k, 12, 40)).astype(np.int16))
    pd.DataFrame({"id": [f"r{k}" for k in range(4)], "kind": ["x", "y"] * 2}).to_csv(root / "train.csv", index=False)
    pd.DataFrame({"id": [f"e{k}" for k in range(2)], "kind": "x"}).to_csv(root / "sample_submission.csv", index=False)
    assert prepare.main([str(root), "id=c"]) == 0
    card = load_card("c")
    assert (card.bag, card.train.images, card.test.images) == ("files", *(f"{part}/{{id}}{ending}/*" for part in PARTS))
    assert card.image.values[0] < 10 and card.image.values[1] > 2900 and card.image.channels == 3
    bag = load_samples(card).train[BAG].iloc[2]
    assert len(bag) == 68 and [Path(one).name for one in bag[9:11]] == ["9", "10"]
    assert read_image(Path(bag[9]), card.pixel_format).pixels.shape == (12, 40, 3)


def test_a_slice_of_a_packed_volume(tmp_path):
    volume = np.random.default_rng(0).integers(0, 3000, (70, 12, 40)).astype(np.int16)
    as_nifti(tmp_path / "a", volume)
    assert len(keys_of(tmp_path / "a.nii.gz")) == 70 and not looks_like_image(tmp_path / "a.nii.gz")
    assert (raw_image(tmp_path / "a.nii.gz/33").values[..., 0] == volume[33]).all()
    with raises("bad-image", "70"):
        raw_image(tmp_path / "a.nii.gz/70")


def test_few_slices_of_a_volume_are_channels(tmp_path):
    volume = np.random.default_rng(0).integers(0, 3000, (5, 12, 40)).astype(np.int16)
    as_nifti(tmp_path / "a", volume)
    assert not keys_of(tmp_path / "a.nii.gz") and looks_like_image(tmp_path / "a.nii.gz")
    assert (raw_image(tmp_path / "a.nii.gz", 5).values == volume.transpose(1, 2, 0)).all()
    whole = (tmp_path / "a.nii.gz").read_bytes()
    for share in (0.9, 0.1, 0):
        (tmp_path / "a.nii.gz").write_bytes(whole[: int(share * len(whole))])
        with raises("bad-image", "a.nii.gz"):
            raw_image(tmp_path / "a.nii.gz", 5)
