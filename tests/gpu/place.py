"""Where the steps work: a home folder with a competition of made-up photos, and commands run in forked processes."""

import csv
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

NAME, CLASSES = "made-up-photos", 8
CARD = """\
title: Made-up photos
train: {table: train.csv, id: id, images: "{id}", label: label}
test: {table: test.csv, id: id, images: "{id}"}
target: multiclass
metric: accuracy
submission: {kind: label, header: [id, label]}
"""
CONFIG = """\
competition: made-up-photos
data: {duplicates: ignore}
"""


class CommandFailed(Exception):
    """A command that ended with another code than 0. code: its error code, as --json tells it."""

    def __init__(self, words: tuple[str, ...], answer: dict[str, Any]) -> None:
        self.code = answer.get("error", {}).get("code", "killed")
        super().__init__(f"{' '.join(words)}: {self.code}: {answer.get('error', {}).get('message', '')}")


@dataclass(frozen=True)
class Place:
    """tiny: so small that figures mean nothing."""

    home: Path
    device: str
    tiny: bool

    @property
    def cuda(self) -> bool:
        return self.device == "cuda"

    def size(self, whole: int, tiny: int) -> int:
        return tiny if self.tiny else whole

    def make(self) -> None:
        """The competition and its configuration. A class is a hue and a direction of stripes: learned in some steps."""
        data = self.home / "competition" / NAME / "data"
        data.mkdir(parents=True)
        generator = np.random.default_rng(0)
        side = self.size(256, 24)
        for part, count in (("train", self.size(4096, 48)), ("test", self.size(512, 16))):
            rows = [(f"{part}-{number:05d}.jpg", number % CLASSES) for number in range(count)]
            for name, kind in rows:
                cv2.imwrite(str(data / name), _photo(kind, side, generator))
            with (data / f"{part}.csv").open("w", newline="") as file:
                csv.writer(file).writerows([("id", "label"), *((name, f"class{kind}") for name, kind in rows)])
        (self.home / "competition" / NAME / "card.yaml").write_text(CARD)
        (self.home / "configs").mkdir()
        (self.home / "configs" / "gpu.yaml").write_text(CONFIG)

    def words(self, run: str, *words: str, size: int = 64) -> list[str]:
        """Of a training of resnet18 that takes some seconds on a GPU; further words go before these."""
        usual = {
            "config": "gpu",
            "run": run,
            "fold": "0",
            "model": (self.tiny and "resnet8") or "resnet18",
            "model.pretrained": "false",
            "images.size": str(self.size(size, 16)),
            "train.epochs": str(self.size(6, 3)),
            "train.batch": str(self.size(128, 8)),
            "train.precision": "bf16" if self.cuda else "fp32",
            "machine.device": self.device,
            "machine.threads": "1" if self.tiny else "auto",
        }
        usual |= dict(word.split("=", 1) for word in words)
        if "model.name" in usual:
            del usual["model"]
        return [f"{key}={value}" for key, value in usual.items()]

    def command(self, module: str, *words: str, limit: float = 300) -> dict[str, Any]:
        """What `python -m module words --json` prints, run in a process forked off this one, which has not begun with
        CUDA. Raises CommandFailed."""
        return self.start(module, *words).answer(limit)

    def start(self, module: str, *words: str) -> "Started":
        """The same, not waited for."""
        return Started(module, words)

    def member(self, run: str, fold: int = 0) -> Path:
        return self.home / "runs" / NAME / run / "seed0" / f"fold{fold}"


class Started:
    """A command under way in a forked process."""

    def __init__(self, module: str, words: tuple[str, ...]) -> None:
        self.words, self.file = (module, *words), tempfile.TemporaryFile("w+")  # noqa: SIM115
        print(f"--- {module} {' '.join(words)}", flush=True)
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.dup2(self.file.fileno(), 1)
                main = __import__(module, fromlist=["main"]).main
                code = main([*words, "--json"])
            except SystemExit as error:
                code = error.code or 0
            finally:
                os._exit(code)

    def kill_when(self, ready: Callable[[], bool]) -> bool:
        """SIGKILL as soon as `ready`. Whether it came to that before the command's end."""
        while os.waitpid(self.pid, os.WNOHANG) == (0, 0):
            if ready():
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                return True
            time.sleep(0.002)
        return False

    def answer(self, limit: float = 300) -> dict[str, Any]:
        until = time.monotonic() + limit
        while (ended := os.waitpid(self.pid, os.WNOHANG)) == (0, 0):
            if time.monotonic() > until:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise CommandFailed(self.words, {"error": {"code": "limit", "message": f"ended after {limit:.0f} s"}})
            time.sleep(0.01)
        with self.file as file:
            file.seek(0)
            text = file.read()
        print(text, flush=True)
        answer = json.loads(text.strip().splitlines()[-1]) if text.strip() else {}
        if os.waitstatus_to_exitcode(ended[1]) != 0:
            raise CommandFailed(self.words, answer)
        return answer


def _photo(kind: int, side: int, generator: np.random.Generator) -> np.ndarray:
    across = np.arange(side)[:, None] if kind % 2 else np.arange(side)[None, :]
    stripes = np.broadcast_to(np.sin(across / side * (6 + 4 * kind)), (side, side))
    coarse = generator.integers(0, 110, (12, 12, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC).astype(float)
    picture += (60 * stripes + 60)[..., None] * np.array([kind % 3 == 0, kind % 3 == 1, kind % 3 == 2])
    return picture.clip(0, 255).astype(np.uint8)
