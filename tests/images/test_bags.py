"""Several images of one answer: from card to CSV, and that attention finds the one that counts."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import timm
import torch
import yaml
from safetensors.numpy import load_file
from safetensors.torch import save_file

from src.config.schema import Model
from src.images.augment import Augmentation
from src.images.bags import BagImages, apart, joined
from src.images.cache import ImageCache
from src.images.dataset import AugmentedSteps, Step
from src.images.stream import ImageStream
from src.models.bags import BAGS
from src.models.factory import build
from src.models.features import FeaturesOf, without_head
from src.models.zoo import register_networks
from src.predict import main as predict
from src.prepare import main as prepare
from src.train import main as train
from tests.fixtures.codes import raises, refused
from tests.fixtures.recipes import recipe

NET = ["model.name=resnet8", "model.pretrained=false", "images.size=16", "images.load_size=16", "data.folds=2"]
NET += [
    "train.batch=8",
    "machine.threads=1",
    "machine.device=cpu",
    "machine.jobs=1",
    "machine.layout=channels_last",  # and not what a trial finds
    "train.precision=fp32",
    "augment.transforms=[HorizontalFlip]",
]
CARD = """\
title: Bags
bag: {bag}
train: {{table: train.csv, id: animal, images: "{train}", label: kind}}
test: {{table: {test_table}, id: animal, images: "{test}"}}
target: binary
metric: accuracy
submission: {{sample: sample_submission.csv, kind: label}}
"""


def picture(rng: np.random.Generator, sign: bool) -> np.ndarray:
    image = rng.integers(30, 90, (16, 16, 3)).astype(np.uint8)
    if sign:
        image[3:13, 3:13, 2] = 250
    return image


def write_bags(home: Path, bag: str, animals: int = 48, tests: int = 8, most: int = 5) -> pd.Series:
    """Animals of one to five pictures, of which at most one holds the sign. Returns the truth of the test part."""
    folder, rng = home / "competition/bags", np.random.default_rng(0)
    tables: dict[str, list] = {"train": [], "test": []}
    for part, count in (("train", animals), ("test", tests)):
        (folder / "data" / part).mkdir(parents=True)
        for k in range(count):
            size, kind = 1 + int(rng.integers(most)) if k else most, k % 2
            signed = int(rng.integers(size)) if kind else -1
            for at in range(size):
                name = f"{part}{k}-{at + 8}.png"  # 8, 9, 10, ...
                cv2.imwrite(str(folder / "data" / part / name), picture(rng, at == signed))
                tables[part].append((f"{part}{k}", name, "yes" if kind else "no"))
    frames = {part: pd.DataFrame(rows, columns=["animal", "picture", "kind"]) for part, rows in tables.items()}
    answers = frames["test"].drop_duplicates("animal").set_index("animal")["kind"]
    if bag == "files":
        frames = {part: table.drop_duplicates("animal").drop(columns="picture") for part, table in frames.items()}
    frames["train"].to_csv(folder / "data/train.csv", index=False)
    frames["test"].drop(columns="kind").to_csv(folder / "data/test.csv", index=False)
    pd.DataFrame({"animal": answers.index, "kind": "no"}).to_csv(folder / "data/sample_submission.csv", index=False)
    end = "{animal}-*.png" if bag == "files" else "{picture}"
    card = CARD.format(bag=bag, train=f"train/{end}", test=f"test/{end}", test_table="test.csv")
    (folder / "card.yaml").write_text(card)
    return answers


def logits(home: Path, run: str = "r") -> np.ndarray:
    with np.load(home / f"runs/bags/{run}/seed0/fold0/logits/oof-identity.npz") as table:
        return table["logits"]


def learn(run: str, *words: str, folds: str = "0", epochs: int = 2) -> int:
    return train([f"fold={folds}", "competition=bags", f"run={run}", f"train.epochs={epochs}", *NET, *words])


def test_places_and_images(tmp_path):
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{k}.png" for k in range(9)]
    for k, path in enumerate(paths):
        cv2.imwrite(str(path), np.full((8, 8, 3), 10 + k, np.uint8))
    images = ImageCache.open(tmp_path / "cache", paths, 8, "stretch")
    bags = BagImages(images, np.array([0, 1, 7, 9]), 3)
    seen = bags.batch([0, 1, 2])
    assert seen.shape == (3, 8, 8, 9)
    assert seen[:, 0, 0, ::3].tolist() == [[10, 0, 0], [11, 13, 16], [17, 18, 0]]  # evenly of six; black where none is
    drawn = {tuple(bags.drawn([1], (0, step))[0][:, 0, 0, 0]) for step in range(20)}
    assert len(drawn) > 5 and all(list(one) == sorted(set(one)) for one in drawn)
    assert (bags.drawn([1], (0, 3))[0] == bags.drawn([1], (0, 3))[0]).all()
    found, places = bags.drawn([2, 0], (0, 3))
    assert found[:, 0, 0, 0].tolist() == [17, 18, 10] and places.tolist() == [0, 1, 3]
    many = rng.integers(0, 255, (4, 8, 8, 9)).astype(np.uint8)
    assert (joined(apart(many, 3).reshape(4, 3, 8, 8, 3)) == many).all()
    assert isinstance(BagImages(ImageStream(paths, 8, "stretch"), bags.ends, 3).batch([1]), np.ndarray)


@pytest.mark.parametrize("pool", ["mean", "max", "first", "attention"])
def test_a_network_of_a_bag_is_that_of_its_images(pool):
    torch.manual_seed(0)
    plain = {"pretrained": False, "weights": None, "stem": "auto", "drop_rate": 0.0, "pool": "stock", "head": "linear"}
    network = build(Model(name="resnet8", args={}, bag=pool, **plain), 2, 16).eval()
    images = torch.randint(1, 255, (3, 3, 16, 16), dtype=torch.uint8)
    bag = torch.cat([images.reshape(1, 9, 16, 16), torch.zeros(1, 3, 16, 16, dtype=torch.uint8)], dim=1)
    features = []
    head = network.backbone.fc
    hook = head.register_forward_pre_hook(lambda _, held: features.append(held[0]))
    with torch.no_grad():
        alone, together = network(images), network(bag)
    hook.remove()
    each = features[0]
    assert torch.allclose(each, features[1], atol=1e-5)
    expected = {"mean": each.mean(0), "max": each.amax(0), "first": each[0]}.get(pool, each.mean(0))
    assert torch.allclose(together[0], head.layer(expected), atol=1e-5)  # attention begins as the mean
    assert alone.shape == (3, 2)
    dark = torch.zeros(1, 6, 16, 16, dtype=torch.uint8)
    with torch.no_grad():
        later = torch.cat([dark[:, :3], bag], dim=1)  # the first place is black
        assert torch.allclose(network(later)[0], together[0], atol=1e-5)
        assert torch.allclose(network(dark), network(dark[:, :3]), atol=1e-6)


def test_a_union_has_what_any_image_has():
    torch.manual_seed(0)
    plain = {"pretrained": False, "weights": None, "stem": "auto", "drop_rate": 0.0, "pool": "stock", "head": "linear"}
    network = build(Model(name="resnet8", args={}, bag="union", **plain), 4, 16).eval()
    images = torch.randint(1, 255, (3, 3, 16, 16), dtype=torch.uint8)
    bag = torch.cat([images.reshape(1, 9, 16, 16), torch.zeros(1, 3, 16, 16, dtype=torch.uint8)], dim=1)
    with torch.no_grad():
        alone, together = network(images), network(bag)
    assert torch.allclose(together[0], alone.amax(0), atol=1e-5)
    with raises("no-linear-head"):  # nothing can be fitted on a bag's features
        without_head(network)


def test_a_place_without_an_image_is_no_feature_of_a_union():
    torch.manual_seed(0)
    plain = {"pretrained": False, "weights": None, "stem": "auto", "drop_rate": 0.0, "pool": "stock", "head": "linear"}
    features = FeaturesOf(build(Model(name="convnext_atto", args={}, bag="union", **plain), 4, 32).eval())
    images = torch.randint(1, 255, (2, 3, 32, 32), dtype=torch.uint8)
    bag = torch.cat([images.reshape(1, 6, 32, 32), torch.zeros(1, 3, 32, 32, dtype=torch.uint8)], dim=1)
    with torch.no_grad():
        alone, together = features(images), features(bag)
    assert (alone.amax(0) < 0).any()  # where a place that is empty would show
    assert torch.allclose(together[0], alone.amax(0), atol=1e-4)


def test_a_union_of_numbers_is_refused(home, capsys):
    write_bags(home, "files", animals=8, tests=2)
    data, card = home / "competition/bags/data", home / "competition/bags/card.yaml"
    for name in ("train.csv", "sample_submission.csv"):
        table = pd.read_csv(data / name)
        table.assign(kind=np.arange(len(table)) * 0.5).to_csv(data / name, index=False)
    text = card.read_text().replace("target: binary", "target: regression").replace("metric: accuracy", "metric: rmse")
    card.write_text(text.replace("kind: label}", "kind: number}"))
    words = ["fold=0", "competition=bags", "run=w", "train.epochs=1", *NET]
    refused(capsys, train, [*words, "model.bag=union"], "unfit-for-bags", "union", "model.bag=max")


@pytest.mark.parametrize("pool", ["mean", "max", "first", "attention"])
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_pools_compute_in_fewer_bits(pool, kind):
    torch.manual_seed(0)
    features, there = torch.randn(2, 3, 16), torch.tensor([[False, True, True], [True, False, False]])
    features[~there] = 0
    of = BAGS.get(pool)(16)
    whole = of(features, there)
    with torch.no_grad(), torch.autocast("cpu", kind):
        assert torch.allclose(of(features, there).float(), whole, atol=2e-2)
        assert torch.isfinite(of(features.to(kind), there)).all()
    if pool == "first":
        assert (whole == torch.stack([features[0, 1], features[1, 0]])).all()


def test_only_images_that_are_there_are_augmented(tmp_path):
    paths = [tmp_path / f"{k}.png" for k in range(5)]
    for k, path in enumerate(paths):
        cv2.imwrite(str(path), np.full((8, 8, 3), 60 * (k != 3), np.uint8))  # the second bag has a black one
    images = ImageCache.open(tmp_path / "cache", paths, 8, "stretch")
    brighter = Augmentation([{"RandomBrightnessContrast": {"brightness_limit": [0.5, 0.5], "p": 1.0}}], 8, 8)
    asked, calls = [], brighter.compose
    brighter.compose = lambda **held: asked.append(held["image"].max()) or calls(**held)
    brighter.compose.set_random_state = calls.set_random_state
    steps = AugmentedSteps(BagImages(images, np.array([0, 1, 4, 5]), 4), brighter, np.array([True, True, False]))
    made, _ = steps[Step(np.array([0, 1, 2]), (0, 1))]
    of_places = made[:, ::3, 0, 0].numpy()
    assert made.shape == (3, 12, 8, 8) and ((of_places > 0) == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0]]).all()
    assert of_places[0, 0] > 60 == of_places[2, 0] and len(asked) == 4 and min(asked) == 60
    black, _ = AugmentedSteps(BagImages(images, np.array([3, 4]), 2), brighter)[Step(np.array([0]), (0, 1))]
    assert black.shape == (1, 6, 8, 8) and not black.any()


def test_from_card_to_csv(home, capsys):
    answers = write_bags(home, "files")
    assert learn("r", "model.bag=attention", "optim.lr=1e-2", folds="0..1", epochs=12) == 0
    capsys.readouterr()
    assert predict(["competition=bags", "run=r", "--tta", "--json"]) == 0
    found = pd.read_csv(json.loads(capsys.readouterr().out)["submission"]).set_index("animal")["kind"]
    assert found.index.tolist() == answers.index.tolist()
    assert (found == answers).mean() >= 0.85


@pytest.mark.slow
def test_attention_beats_the_mean_where_one_of_five_counts(home):
    write_bags(home, "files", animals=64)
    losses = {}
    for pool in ("mean", "attention"):
        assert learn(pool, f"model.bag={pool}", "optim.lr=1e-2", epochs=10) == 0
        losses[pool] = pd.read_csv(home / f"runs/bags/{pool}/seed0/fold0/log.csv").iloc[-1]
    assert losses["attention"]["score"] >= losses["mean"]["score"] + 0.1


def test_a_smaller_bag_size_and_the_same_bits_again(home):
    write_bags(home, "rows")
    for run in ("r", "again"):
        assert learn(run, "images.bag_size=2", epochs=1) == 0
    assert (logits(home) == logits(home, "again")).all()
    weights = load_file(home / "runs/bags/r/seed0/fold0/model.safetensors")
    assert weights["fc.layer.weight"].shape[0] == 2


def test_wrong_bags_are_told(home, capsys, notes):
    write_bags(home, "rows", animals=16, tests=2)
    folder = home / "competition/bags"
    words = ["fold=0", "competition=bags", "run=w", "train.epochs=1", *NET]
    table = pd.read_csv(folder / "data/train.csv")
    spoilt = table.copy()
    spoilt.loc[1, "kind"] = "yes" if spoilt.loc[1, "kind"] == "no" else "no"
    spoilt.to_csv(folder / "data/train.csv", index=False)
    refused(capsys, train, words, "bag-labels-differ", "train0")
    table.to_csv(folder / "data/train.csv", index=False)
    broken = folder / "data/train/train0-9.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    refused(capsys, train, words, "bad-image", "train0-9.png")
    card = folder / "card.yaml"
    card.write_text(card.read_text() + "on_bad_image: drop\n")
    assert learn("w", epochs=1) == 0  # the others of the bag are there
    assert notes.texts("images-unreadable", "train0-9.png")
    card.write_text(card.read_text().replace("bag: rows", "bag: files"))
    refused(capsys, train, ["fold=0", "competition=bags", "run=v", "train.epochs=1", *NET], "bad-card", "*")
    card.write_text(card.read_text().replace("bag: files\n", ""))
    refused(capsys, train, ["fold=0", "competition=bags", "run=v", "train.epochs=1", *NET], "repeated-id")


def test_an_own_bag(home):
    write_bags(home, "files", animals=16, tests=2)
    (home / "extensions").mkdir()
    (home / "extensions/root_mean.py").write_text(recipe("Bag"))
    assert learn("r", "model.bag=root_mean", epochs=1) == 0
    assert learn("plain", epochs=1) == 0
    assert not np.allclose(logits(home), logits(home, "plain"))


def test_bags_are_refused_where_there_are_none(tiny, capsys):
    for word in ("model.bag=max", "images.bag_size=3"):
        refused(capsys, train, ["fold=0", "config=tiny", "run=x", word], "no-bags")
    assert "attention" in BAGS


@pytest.mark.parametrize("folders", [pytest.param(False, marks=pytest.mark.slow), True])
def test_prepare_reads_the_images_of_a_name_or_a_folder(home, tmp_path, folders):
    write_bags(tmp_path, "files", animals=20, tests=6)
    host = tmp_path / "competition/bags/data"
    if folders:
        for file in host.glob("*/*.png"):
            (file.parent / file.name.partition("-")[0]).mkdir(exist_ok=True)
            file.rename(file.parent / file.name.partition("-")[0] / file.name.partition("-")[2])
    assert prepare([str(host), "id=pets"]) == 0
    card = yaml.safe_load((home / "competition/pets/card.yaml").read_text())
    end = "{animal}/*" if folders else "{animal}-*"
    assert (
        card["bag"] == "files" and card["train"]["images"] == f"train/{end}" and card["test"]["images"] == f"test/{end}"
    )
    assert (card["train"]["id"], card["train"]["label"], card["test"]["id"]) == ("animal", "kind", "animal")
    assert train(["fold=0", "competition=pets", "run=r", "train.epochs=1", *NET]) == 0


def test_a_probe_on_more_images_of_a_bag_sees_other_features(home):
    write_bags(home, "files")
    torch.manual_seed(3)
    register_networks()
    save_file(timm.create_model("resnet8", num_classes=5).state_dict(), home / "own.safetensors")
    words = ["model.stem=stock", "probe.head=logistic", f"model.pretrained={home / 'own.safetensors'}"]
    words = ["fold=0", "competition=bags", *(word for word in NET if not word.startswith("model.pretrained")), *words]
    for size in (1, 5):
        assert train([*words, f"run=of{size}", f"images.bag_size={size}"]) == 0
    first, all_of_them = logits(home, "of1"), logits(home, "of5")
    assert not np.allclose(first, all_of_them)
