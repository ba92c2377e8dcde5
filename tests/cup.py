"""A small competition on the disk, the loopback Kaggle that hosts it, and the door as a user calls it."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from src import submit
from src.runs import REPOSITORY, sha256_of
from src.submission import kaggle, ledger, push
from tests.kaggle_server import KEY, TOKEN, Competition, KaggleServer

SLUG = "digits-cup"
ANSWERS = {f"{number:04}": str(number % 3) for number in range(20)}
SECRETS = (KEY, TOKEN, "signature=")
CARD = f"""
title: Digits cup
kaggle: {SLUG}
train: {{table: train.csv, id: id, images: "train/{{id}}.png", label: label}}
test: {{table: sample_submission.csv, id: id, images: "test/{{id}}.png"}}
target: multiclass
metric: accuracy
submission: {{sample: sample_submission.csv, kind: label}}
"""


class Cup:
    """`run` calls the door; whatever it prints or writes is searched for credentials."""

    def __init__(self, home: Path, server: KaggleServer, capsys):
        self.home, self.server, self.capsys = home, server, capsys
        self.folder = home / "submissions" / SLUG

    def file(self, wrong: int = 0, name: str = "net.csv") -> Path:
        """A submission with so many wrong answers at its end."""
        right = len(ANSWERS) - wrong
        rows = [
            (key, label if place < right else "2" if label == "0" else "0")
            for place, (key, label) in enumerate(ANSWERS.items())
        ]
        return write_table(self.folder / name, [("id", "label"), *rows])

    def run(self, *words) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of `python -m src.submit WORDS`."""
        self.capsys.readouterr()
        code = submit.main([str(word) for word in words])
        out, err = self.capsys.readouterr()
        self.no_secret(out + err)
        return code, out, err

    def started(self, *words) -> subprocess.Popen:
        """The same as a process of its own."""
        line = [sys.executable, "-m", "src.submit", *map(str, words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(line, cwd=REPOSITORY, text=True, **pipes)

    def no_secret(self, text: str):
        written = (path.read_text(errors="replace") for path in self.home.rglob("*.csv"))
        for shown in (text, *written):
            assert not any(secret in shown for secret in SECRETS), shown

    def entries(self):
        return ledger.read(SLUG)[0]

    def noted(self, file: Path, **more):
        """What prediction notes beside a run about the file it made."""
        source = {"file": file.name, "sha256": sha256_of(file), "runs": ["net"], "seeds": [0], "folds": [0, 1]}
        source |= {"views": ["identity", "hflip"], "score": {"value": 0.95, "low": 0.93, "high": 0.97}}
        source |= {"metric": "accuracy", "config_hash": "abcd1234", "commit": "1f2e3d4c"} | more
        path = self.home / "runs" / SLUG / "net" / "predictions" / f"{file.stem}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(source))


def write_table(path: Path, rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    return path


@pytest.fixture(name="cup")
def digits_cup(tmp_path, monkeypatch, capsys):
    home = tmp_path / "home"
    folder = home / "competition" / SLUG
    train = {f"t{number}": str(number % 3) for number in range(9)}
    for part, ids in (("train", train), ("test", ANSWERS)):
        (folder / "data" / part).mkdir(parents=True)
        for name in ids:
            cv2.imwrite(str(folder / "data" / part / f"{name}.png"), np.zeros((4, 4, 3), np.uint8))
    (folder / "card.yaml").write_text(CARD)
    write_table(folder / "data" / "train.csv", [("id", "label"), *train.items()])
    write_table(folder / "data" / "sample_submission.csv", [("id", "label"), *((key, "0") for key in ANSWERS)])
    for name in [name for name in os.environ if name.upper().startswith(("KAGGLE_", "HTTP_PROXY", "HTTPS_PROXY"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PODIUM_HOME", str(home))
    # Short waits, in the same steps.
    monkeypatch.setattr(kaggle, "PAUSES", (0.05, 0.05))
    monkeypatch.setattr(push, "LOOKS", (0.05, 0.05))
    monkeypatch.setattr(push, "POLLS", (0.05, 0.1))
    with KaggleServer(Competition(SLUG, dict(ANSWERS))) as server:
        for name, value in server.environment(tmp_path / "user").items():
            monkeypatch.setenv(name, value)
        yield Cup(home, server, capsys)
