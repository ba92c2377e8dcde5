"""Files of several frames or pages: never the first alone without a word."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from src import prepare
from src.competition.card import load_card
from src.competition.samples import load_samples
from src.images.read import read_image
from tests.images.test_frame_bags import write_frames


def animated(path, pictures):
    frames = [Image.fromarray(one) for one in pictures]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def pages(path, pictures):
    tifffile.imwrite(path, pictures.mean(axis=-1).astype(np.uint8), photometric="minisblack")


@pytest.mark.parametrize(
    ("ending", "write", "channels", "noted", "guessed"),
    [
        ("gif", animated, 3, True, False),
        ("webp", animated, 3, True, False),
        ("tif", pages, 3, False, True),  # three pages of gray are no colours for sure
        ("tif", animated, 9, False, True),
        ("dcm", lambda path, pictures: write_frames(path, pictures.mean(axis=-1)), 3, False, True),
        ("png", lambda path, pictures: Image.fromarray(pictures[0]).save(path), 3, False, False),
    ],
)
def test_several_frames_are_told(tmp_path, monkeypatch, capsys, ending, write, channels, noted, guessed):
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("src.reporting.preview.write_preview", lambda done: done.card.folder / "preview.html")
    root, rng = tmp_path / "host", np.random.default_rng(0)
    for part, count in (("train", 8), ("test", 3)):
        (root / part).mkdir(parents=True)
        for k in range(count):
            write(root / part / f"{part[1]}{k}.{ending}", rng.integers(0, 255, (3, 12, 14, 3), dtype=np.uint8))
    pd.DataFrame({"id": [f"r{k}" for k in range(8)], "kind": ["x", "y"] * 4}).to_csv(root / "train.csv", index=False)
    pd.DataFrame({"id": [f"e{k}" for k in range(3)], "kind": "x"}).to_csv(root / "sample_submission.csv", index=False)
    assert prepare.main([str(root), "id=c", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert ("first-frame" in [one["code"] for one in told["notes"]]) == noted
    assert ("image.channels" in told["guesses"]) == guessed
    card = load_card("c")
    assert read_image(Path(load_samples(card).train["path"][0]), card.pixel_format).pixels.shape == (12, 14, channels)
