"""Row: eight views of every photo of the archive, read from JPEG files: answers a second, command to CSV.

Podium's side is `python -m src.predict --tta` as it is after training on another machine: without a cache, stored
logits, a chosen engine or a quantised network. The peer makes eight passes of a DataLoader in fp32 over the same files,
with the same weights (see peer/loader_tta.py). `alike` is the share of photos that get the peer's answer.
"""

import csv
import shutil
from functools import partial
from pathlib import Path

from src.config.schema import Predict
from src.core.errors import Problem
from src.core.paths import DONE, Run
from src.training.machine import cores
from tests.bench.photos import VIEWS, at_home, bench_home
from tests.bench.process import peer, podium
from tests.bench.row import Figures, Line, Row, Trial

RUN = Run(VIEWS, "bench-eight-views")
PEER = "eight passes of a DataLoader, fp32"
WORDS = {"bf16": ["predict.precision=bf16"], "int8": ["predict.engine=openvino", "predict.precision=int8"]}


def with_podium(trial: Trial, precision: str) -> Figures:
    if "engine" in Predict.model_fields:
        words = WORDS[precision]
    elif precision == "bf16":
        words = []  # the precision that the run was trained in
    else:
        raise Problem("predict.engine is no key of this Podium, so that it answers in no other precision")
    home, member = trained(trial)
    run = member.parent.parent
    for made in (home / "competition" / VIEWS / "cache", member / "logits", member / "engines", run / "engines"):
        shutil.rmtree(made, ignore_errors=True)
    seconds = podium(home, "src.predict", "--tta", f"run={RUN.name}", *words)
    text = answers(home / "submissions" / VIEWS / f"{RUN.name}.csv")
    usual = home / "fp32.csv"
    return {"answers/s": len(text) / seconds, "command": seconds} | (
        alike(text, answers(usual)) if usual.exists() else {}
    )


def with_loader(trial: Trial) -> Figures:
    home, member = trained(trial)
    data, made = home / "competition" / VIEWS / "data", trial.folder / "answers.csv"
    figures = peer("loader_tta.py", data, member / "model.safetensors", made, cores())
    made.replace(home / "fp32.csv")
    return {"answers/s": len(answers(home / "fp32.csv")) / figures["command"], "command": figures["command"]}


def trained(trial: Trial) -> tuple[Path, Path]:
    """The home, and the folder of the network that answers; it is trained once, outside of any measured time."""
    home = bench_home(trial.tiny)
    with at_home(home):
        member = RUN.member(0, 0)
    if not (member / DONE).exists():
        podium(home, "src.train", "config=eight-views", f"run={RUN.name}", "fold=0")
    return home, member


def answers(file: Path) -> dict[str, str]:
    with file.open(encoding="utf-8", newline="") as lines:
        return {row["id"]: row["label"] for row in csv.DictReader(lines)}


def alike(one: dict[str, str], other: dict[str, str]) -> Figures:
    return {"alike": sum(other.get(key) == label for key, label in one.items()) / len(one)}


TITLE = "eight views of 13,524 photos, resnet18 at 64 px, JPEG files to CSV"
ROW = Row(
    "eight-views",
    {
        PEER: with_loader,
        "Podium, bf16": partial(with_podium, precision="bf16"),
        "Podium, int8": partial(with_podium, precision="int8"),
    },
    (
        Line(TITLE, "answers/s", PEER, 5, side="Podium, int8", beside="alike"),
        Line(TITLE, "answers/s", PEER, 3.5, side="Podium, bf16", beside="alike"),
    ),
    "The same weights on both sides, imports and the writing of the CSV included; Podium also answers the 300 rows "
    "it validates by. `alike` is the share of photos with the peer's answer.",
)
