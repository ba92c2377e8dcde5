"""A last layer fitted on frozen features: an ordinary run for every kind of target, from features computed once."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save_file

from src.core.files import read_json
from src.inference import network_features
from src.models.zoo import register_networks
from src.predict import main as predict
from src.train import main as train
from tests.fixtures.recipes import recipe
from tests.fixtures.tiny import CARD

WORDS = ["config=tiny", "model.stem=stock"]
AUTO = "probe.head=auto"


@pytest.fixture
def probed(tiny) -> list[str]:
    """The words of a probe on a network of ours; colours are told apart by any convolutions."""
    register_networks()
    torch.manual_seed(3)
    save_file(timm.create_model("resnet8", num_classes=5).state_dict(), tiny / "own.safetensors")
    return [*WORDS, f"model.pretrained={tiny / 'own.safetensors'}"]


def stored(home: Path, run: str, name: str, fold: int = 0) -> np.ndarray:
    with np.load(home / f"runs/tiny/{run}/seed0/fold{fold}/logits/{name}.npz") as table:
        return table["logits"]


def features(home: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in home.glob("competition/tiny/cache/features/*/*.npz")}


def error(capsys: pytest.CaptureFixture) -> str:
    return json.loads(capsys.readouterr().out)["error"]["code"]


def test_a_probe_is_a_run_like_any_other(tiny, probed):
    assert train([*probed, AUTO, "fold=0..2", "run=p"]) == 0
    done = read_json(tiny / "runs/tiny/p/seed0/fold0/done.json")
    assert done["score"] > 0.9 and done["probe"]["head"] in ("logistic", "prototypes")
    assert not list(tiny.glob("competition/tiny/cache/*.npy"))  # of images that are seen once
    kept = features(tiny)
    assert sorted(Path(file).name for file in kept) == [
        f"{part}-{view}.npz" for part in ("test", "train") for view in ("hflip", "identity")
    ]
    assert train([*probed, AUTO, "fold=0", "seed=1", "run=again"]) == 0
    assert features(tiny) == kept
    assert predict(["run=p", "--tta", "--export"]) == 0
    # The stored logits are those of the network that was written.
    by_features = {name: stored(tiny, "p", name) for name in ("oof-identity", "test-hflip")}
    shutil.rmtree(tiny / "runs/tiny/p/seed0/fold0/logits")
    assert predict(["run=p", "--tta"]) == 0
    for name, logits in by_features.items():
        np.testing.assert_allclose(stored(tiny, "p", name), logits, atol=1e-3)


def test_folds_of_one_command_read_the_features_once(tiny, probed, monkeypatch):
    read, files = network_features.read_features, []
    monkeypatch.setattr(network_features, "read_features", lambda file, ids: files.append(file.name) or read(file, ids))
    assert train([*probed, AUTO, "fold=0..2", "run=p"]) == 0
    assert sorted(files) == sorted(Path(file).name for file in features(tiny))
    assert train([*probed, AUTO, "fold=2", "run=alone"]) == 0
    for name in ("oof-identity", "test-hflip"):
        np.testing.assert_array_equal(stored(tiny, "p", name, 2), stored(tiny, "alone", name, 2))


def test_features_of_a_command_that_is_stopped_are_gone_on_with(tiny, probed, monkeypatch):
    from src.inference import network_features

    monkeypatch.setattr(network_features, "KEPT_EACH", 16)
    real, seen = network_features.view_logits, []

    def stopped(*words):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(len(words[2]))
        return real(*words)

    words = [*probed, "--features", "predict.views=[identity]", "predict.batch=8", "predict.engine=torch"]
    monkeypatch.setattr(network_features, "view_logits", stopped)
    assert predict(words) == 130
    monkeypatch.setattr(network_features, "view_logits", lambda *words: seen.append(len(words[2])) or real(*words))
    assert predict(words) == 0
    assert seen == [16, 16, 16, 12]  # of 60 images, each once
    (file,) = tiny.glob("competition/tiny/cache/features/*/train-identity.npz")
    with np.load(file) as table:
        together = table["features"]
    assert sorted(path.name for path in file.parent.iterdir() if path.name != "lock") == [
        "test-identity.npz",
        "train-identity.npz",
    ]
    file.unlink()
    assert predict(words) == 0
    with np.load(file) as table:
        np.testing.assert_array_equal(table["features"], together)


@pytest.mark.parametrize(
    ("target", "metric", "kind", "head"),
    [("multilabel", "micro_f1", "set", "one_against_rest"), ("ordinal", "qwk", "label", "grades")],
)
def test_every_kind_of_target_has_its_heads(tiny, probed, target, metric, kind, head):
    card = yaml.safe_load(CARD) | {"target": target, "metric": metric}
    card["submission"]["kind"] = kind
    (tiny / "competition/tiny/card.yaml").write_text(yaml.safe_dump(card))
    assert train([*probed, "fold=0", "run=p", f"probe.head={head}"]) == 0
    assert read_json(tiny / "runs/tiny/p/seed0/fold0/done.json")["score"] > 0.8
    assert train([*probed, AUTO, "fold=0", "run=auto"]) == 0
    assert read_json(tiny / "runs/tiny/auto/seed0/fold0/done.json")["score"] > 0.8


def test_several_targets_have_a_head_each(tiny, probed, capsys):
    """A class, and a number that goes with it."""
    for name, column in (("train.csv", "colour"), ("sample_submission.csv", "colour")):
        file = tiny / "competition/tiny/data" / name
        table = pd.read_csv(file, dtype=str)
        table["level"] = table[column].map({"blue": "10", "green": "250", "red": "-40"})
        table.to_csv(file, index=False)
    target = {"name": "mixed", "columns": {"colour": ["blue", "green", "red"], "level": "regression"}}
    card = yaml.safe_load(CARD) | {"target": target, "metric": "mixed"}
    card["train"]["label"], card["submission"] = ["colour", "level"], card["submission"] | {"kind": "mixed"}
    del card["test_labels"]
    (tiny / "competition/tiny/card.yaml").write_text(yaml.safe_dump(card))
    probed = [*probed, "data.sampler=plain"]
    assert train([*probed, AUTO, "fold=0", "run=p"]) == 0
    done = read_json(tiny / "runs/tiny/p/seed0/fold0/done.json")
    kind, _, second = done["probe"]["head"].partition("+")
    assert kind in ("logistic", "prototypes") and second == "ridge" and done["score"] > 0.8
    with np.load(tiny / "runs/tiny/p/seed0/fold0/logits/oof-identity.npz") as table:
        logits, ids = table["logits"], table["id"]
    rows = pd.read_csv(tiny / "competition/tiny/data/train.csv", dtype={"image_id": str}).set_index("image_id").loc[ids]
    assert logits.shape == (len(rows), 4)
    assert (np.array(["blue", "green", "red"])[logits[:, :3].argmax(1)] == rows["colour"]).mean() > 0.8
    assert np.abs(logits[:, 3] - rows["level"]).mean() < 40  # the mean answered to all is 110 away
    still = ["train.head_init=probe", "train.epochs=1", "optim.lr=1e-9", "train.hold_norms=true", "augment=none"]
    assert train([*probed, *still, "fold=0", "run=on"]) == 0
    begun = read_json(tiny / "runs/tiny/on/seed0/fold0/done.json")
    assert begun["score"] == pytest.approx(done["score"], abs=0.01)
    capsys.readouterr()
    assert train([*probed, "probe.head=logistic", "fold=0", "run=one", "--json"]) == 2
    assert error(capsys) == "no-probe"


def test_the_nearest_images_vote(tiny, probed, capsys):
    words = [*probed, "probe.head=neighbours", "fold=0..1", "run=n"]
    assert train(words) == 0
    done = read_json(tiny / "runs/tiny/n/seed0/fold0/done.json")
    assert done["probe"]["head"] == "neighbours" and done["score"] > 0.8
    with safe_open(tiny / "runs/tiny/n/seed0/fold0/model.safetensors", "pt") as file:
        assert file.get_tensor("fc.labels_of_stored").shape == (30,)  # every training image of the fold
    assert predict(["run=n", "--tta", "--export"]) == 0  # reads the file back, and fails where it answers otherwise
    by_features = stored(tiny, "n", "oof-identity")
    shutil.rmtree(tiny / "runs/tiny/n/seed0/fold0/logits")
    assert predict(["run=n"]) == 0
    np.testing.assert_allclose(stored(tiny, "n", "oof-identity"), by_features, atol=1e-2)
    capsys.readouterr()
    words = [*WORDS, probed[-1], "train.head_init=probe", "probe.head=neighbours", "fold=0", "run=m", "--json"]
    assert train(words) == 2
    assert error(capsys) == "no-linear-head"


def test_a_head_of_the_users_own(tiny, probed):
    (tiny / "extensions").mkdir()
    (tiny / "extensions/nearest_mean.py").write_text(recipe("Probe"))
    assert train([*probed, "fold=0", "run=p", "probe.head=nearest_mean"]) == 0
    done = read_json(tiny / "runs/tiny/p/seed0/fold0/done.json")
    assert done["probe"]["head"] == "nearest_mean" and done["score"] > 0.9


def test_features_are_written_for_other_programs_and_damaged_ones_made_anew(tiny, probed, capsys):
    assert predict([*probed, "--features", "predict.views=[identity]", "--json"]) == 0
    files = {Path(file).name: Path(file) for file in json.loads(capsys.readouterr().out)["files"]}
    assert set(files) == {"train-identity.npz", "test-identity.npz"}
    with np.load(files["train-identity.npz"]) as table:
        assert table["features"].shape == (45, 64) and len(set(table["id"])) == 45
        first = table["features"]
    files["train-identity.npz"].write_bytes(b"PK damaged")
    assert predict([*probed, "--features", "predict.views=[identity]"]) == 0
    with np.load(files["train-identity.npz"]) as table:
        np.testing.assert_array_equal(table["features"], first)


@pytest.mark.parametrize("fails", [False, True])
def test_features_of_the_faster_engine_are_torchs(tiny, probed, monkeypatch, capsys, fails):
    """Where one fails on the images, torch is there."""
    pytest.importorskip("openvino")
    words = [*probed, "--features", "predict.views=[identity]", "--json"]
    assert predict(words) == 0
    (file,) = tiny.glob("competition/tiny/cache/features/*/train-identity.npz")
    with np.load(file) as table:
        by_torch = table["features"]
    file.unlink()
    timed, seconds = network_features._timed, iter([2.0, 1.0, 1.0])

    def faster(ready, images):
        of_torch, first = timed(ready, images)[0], next(seconds)
        if fails and first < 2:
            raise RuntimeError("no memory")
        return of_torch, first

    monkeypatch.setattr(network_features, "PAYS", 0)
    monkeypatch.setattr(network_features, "_timed", faster)
    assert predict(words) == 0
    with np.load(file) as table:
        np.testing.assert_allclose(table["features"], by_torch, atol=1e-4)
        assert json.loads(str(table["meta"]))["engine"] == ("torch" if fails else "openvino")


def test_features_without_a_configuration_are_the_probes(tiny, probed, capsys):
    """Not those of the size that a network from scratch would be given."""
    words = ["competition=tiny", "model.name=resnet8", *probed[1:], "predict.views=[identity]"]
    assert predict([*words, "--features", "--json"]) == 0
    assert Path(json.loads(capsys.readouterr().out)["features"]).name.startswith("resnet8@288-")


def test_what_cannot_be_probed_is_refused(tiny, probed, capsys):
    assert train([*WORDS, AUTO, "fold=0", "run=scratch", "--json"]) == 1
    assert error(capsys) == "no-weights-to-begin-with"
    assert train([*probed, "fold=0", AUTO, "run=cosine", "model.head=cosine", "--json"]) == 1
    assert error(capsys) == "no-linear-head"
    assert train([*probed, "fold=0", "run=odd", "probe.head=logistc", "--json"]) == 2
    assert error(capsys) == "bad-value"


def width_of(home: Path) -> int:
    (file,) = home.glob("competition/tiny/cache/features/*/train-identity.npz")
    with np.load(file) as table:
        return table["features"].shape[1]


def pool_of(home: Path, run: str) -> str:
    return yaml.safe_load((home / f"runs/tiny/{run}/config.yaml").read_text())["model"]["pool"]


def test_the_last_stages_are_joined_and_exported(tiny, probed):
    own = timm.create_model("resnet8", num_classes=2)
    stages = [own.feature_info[at]["num_chs"] for at in range(len(own.feature_info) - 1)][-3:]
    assert train([*probed, AUTO, "model.pool=auto", "fold=0..1", "run=s"]) == 0
    assert pool_of(tiny, "s") == "stages"
    assert width_of(tiny) == own.num_features + sum(stages)
    assert predict(["run=s", "--tta", "--export"]) == 0  # reads the file back, and fails where it answers otherwise
    # Fine-tuning begins from that head.
    assert train([*WORDS, probed[-1], "train.head_init=probe", "model.pool=stages", "fold=0", "train.epochs=1"]) == 0


def test_a_network_without_stages_keeps_its_own_pool(tiny, probed, capsys):
    torch.manual_seed(3)
    save_file(timm.create_model("test_vit", num_classes=5, img_size=16).state_dict(), tiny / "vit.safetensors")
    words = [*WORDS, f"model.pretrained={tiny / 'vit.safetensors'}", "model.name=test_vit", AUTO, "fold=0"]
    assert train([*words, "model.pool=auto", "run=v"]) == 0
    assert pool_of(tiny, "v") == "stock"
    capsys.readouterr()
    assert train([*words, "model.pool=stages", "run=w", "--json"]) == 2
    assert error(capsys) == "unfit-network"
