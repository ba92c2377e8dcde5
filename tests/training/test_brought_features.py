"""A probe on features that another program made: no network here, a run all the same."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.torch import load_file

from src.core.files import read_json
from src.predict import main as predict
from src.report import main as report
from src.train import main as train
from tests.fixtures.tiny import CARD, COLOURS

WORDS = ["config=tiny", "probe.head=logistic"]
WIDTH = 8


def tables(home: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and test rows with their colours."""
    folder = home / "competition/tiny"
    return tuple(pd.read_csv(folder / name, dtype=str) for name in ("data/train.csv", "answers/test.csv"))


def seen(table: pd.DataFrame, seed: int, column: str = "colour") -> np.ndarray:
    """(rows, 8) features in which colours lie apart."""
    features = np.random.default_rng(seed).normal(0, 0.3, (len(table), WIDTH)).astype(np.float32)
    features[np.arange(len(table)), table[column].map(list(COLOURS).index)] += 2
    return features


def write(file: Path, table: pd.DataFrame, features: np.ndarray) -> None:
    file.parent.mkdir(exist_ok=True)
    np.savez(file, id=table["image_id"].to_numpy(dtype=str), features=features)


@pytest.fixture
def mine(tiny) -> list[str]:
    """The words of a probe on one file of features."""
    both = pd.concat(tables(tiny))
    write(tiny / "mine.npz", both, seen(both, 1))
    return [*WORDS, "probe.features=mine.npz"]


def error(capsys: pytest.CaptureFixture) -> str:
    return json.loads(capsys.readouterr().out)["error"]["code"]


def test_a_run_on_features_of_another_program(tiny, mine):
    assert train([*mine, "fold=0..2", "run=p"]) == 0
    member = tiny / "runs/tiny/p/seed0/fold0"
    assert read_json(member / "done.json")["score"] > 0.9
    assert load_file(member / "model.safetensors")["head.weight"].shape == (3, WIDTH)
    assert not list(tiny.glob("competition/tiny/cache/*.npy"))  # no image was seen
    assert predict(["run=p", "--tta"]) == 0 and report(["run=p"]) == 0
    file = tiny / "submissions/tiny/p.csv"
    answers = pd.read_csv(file, dtype=str).merge(tables(tiny)[1], on="image_id")
    assert (answers["colour_x"] == answers["colour_y"]).mean() > 0.9
    drawn = pd.read_csv(tiny / "runs/tiny/p/report/map.csv")
    assert len(drawn) == 45 and drawn["beside_own"].mean() > 0.9


def test_a_folder_may_hold_several_views(tiny):
    for number, view in enumerate(("identity", "hflip")):
        for part, table in zip(("train", "test"), tables(tiny), strict=True):
            write(tiny / f"mine/{part}-{view}.npz", table, seen(table, number))
    words = [*WORDS, "probe.features=mine", "fold=0..2"]
    assert train([*words, "run=both"]) == 0 and predict(["run=both", "--tta"]) == 0
    (facts,) = (tiny / "runs/tiny/both/predictions").glob("*.json")
    assert read_json(facts)["views"] == ["identity", "hflip"]
    with np.load(tiny / "runs/tiny/both/seed0/fold0/logits/test-hflip.npz") as table:
        stored = table["logits"]
    head = load_file(tiny / "runs/tiny/both/seed0/fold0/model.safetensors")
    expected = seen(tables(tiny)[1], 1) @ head["head.weight"].numpy().T + head["head.bias"].numpy()
    order = pd.Index(tables(tiny)[1]["image_id"]).get_indexer(ids(tiny, "both"))
    np.testing.assert_allclose(stored, expected[order], atol=1e-4)


def ids(home: Path, run: str) -> np.ndarray:
    with np.load(home / f"runs/tiny/{run}/seed0/fold0/logits/test-hflip.npz") as table:
        return table["id"]


def test_what_needs_a_network_is_refused(tiny, mine, capsys):
    assert train([*mine, "fold=0..2", "run=p"]) == 0 and predict(["run=p"]) == 0
    capsys.readouterr()
    assert predict(["run=p", "--export", "--json"]) == 1
    assert error(capsys) == "no-network"
    assert predict(["run=p", "predict.size=24", "--json"]) == 1
    assert error(capsys) == "no-network"
    assert train(["config=tiny", "fold=0", "run=on", "model.weights=run:p", "--json"]) == 1
    assert error(capsys) == "no-network"


def test_features_that_do_not_fit_are_refused(tiny, mine, capsys):
    both = pd.concat(tables(tiny))
    for rows, features in ((both[1:], seen(both, 1)[1:]), (both, np.full((len(both), WIDTH), np.nan, np.float32))):
        write(tiny / "wrong.npz", rows, features)
        assert train([*WORDS, "probe.features=wrong.npz", "fold=0", "run=w", "--json"]) == 1
        assert error(capsys) == "bad-features"
    assert train([*WORDS, "probe.features=absent.npz", "fold=0", "run=w", "--json"]) == 1
    assert error(capsys) == "no-features"
    assert train(["config=tiny", "probe.features=mine.npz", "fold=0", "run=w", "--json"]) == 2  # and no head
    assert error(capsys) == "bad-value"
    # One run, one set of features.
    assert train([*mine, "fold=0", "run=p"]) == 0
    write(tiny / "mine.npz", both, seen(both, 2))
    capsys.readouterr()
    assert train([*mine, "fold=1", "run=p", "--json"]) == 1
    assert error(capsys) == "features-changed"


def test_ridge_fits_numbers_in_their_own_unit(tiny):
    """Two numbers, one in thousands, that are linear in the features but for noise of a known size."""
    folder, generator = tiny / "competition/tiny/data", np.random.default_rng(0)
    train_rows, test_rows = tables(tiny)
    both = pd.concat([train_rows, test_rows])
    features = generator.normal(0, 1, (len(both), 4)).astype(np.float32)
    write(tiny / "mine.npz", both, features)
    numbers = features @ np.array([[3000.0, 0.0], [0, 0.5], [1000, 0], [0, 0]]) + [50_000, -2]
    noisy = (numbers + generator.normal(0, 1, numbers.shape) * [100, 0.05])[: len(train_rows)]
    train_rows.assign(mass=noisy[:, 0], size=noisy[:, 1]).drop(columns="colour").to_csv(
        folder / "train.csv", index=False
    )
    test_rows.assign(mass=0, size=0).drop(columns="colour").to_csv(folder / "sample_submission.csv", index=False)
    card = yaml.safe_load(CARD) | {"target": "regression", "metric": "mae"}
    card["train"]["label"], card["submission"]["kind"] = ["mass", "size"], "numbers"
    del card["test_labels"]
    shutil.rmtree(tiny / "competition/tiny/answers")
    (tiny / "competition/tiny/card.yaml").write_text(yaml.safe_dump(card))
    words = ["config=tiny", "probe.head=auto", "probe.features=mine.npz", "data.sampler=plain", "fold=0..2", "run=r"]
    assert train(words) == 0 and predict(["run=r"]) == 0
    assert read_json(tiny / "runs/tiny/r/seed0/fold0/done.json")["probe"]["head"] == "ridge"
    file = tiny / "submissions/tiny/r.csv"
    found = pd.read_csv(file, dtype={"image_id": str}).set_index("image_id").loc[test_rows["image_id"]].to_numpy()
    off = np.abs(found - numbers[len(train_rows) :]).mean(axis=0)
    assert off[0] < 100 and off[1] < 0.05
