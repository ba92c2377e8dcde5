"""Steps that must hold: resume after SIGKILL, options of learning, memory, views, export, page, several processes."""

import json
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from src.core.paths import REPOSITORY
from tests.gpu.place import NAME, CommandFailed, Place

Tell = Callable[..., None]
MEMORY_SHARE = 0.01  # of the GPU, that a command may use where memory is to run out


def resume(precision: str) -> Callable[[Place, Tell], None]:
    """A fold that is killed once it has a checkpoint, and goes on, beside one that never stopped."""

    def work(place: Place, tell: Tell) -> None:
        words = [f"train.precision={precision}", "train.mixup=0.2", "machine.checkpoint_minutes=0.001"]
        whole, killed = f"whole-{precision}", f"killed-{precision}"
        tell(score=place.command("src.train", *place.words(whole, *words))["mean_score"])
        begun = place.start("src.train", *place.words(killed, *words))
        if not begun.kill_when((place.member(killed) / "checkpoint.pt").exists):
            raise AssertionError("it ended before it could be killed")
        place.command("src.train", *place.words(killed, *words))
        weights, logits = differences(place.member(whole), place.member(killed))
        tell(same_bits=weights == logits == 0, weights_differ_by=weights, logits_differ_by=logits)
        if place.device == "cpu" and weights + logits > 0:
            raise AssertionError("a killed and resumed fold has other bits")
        # On a GPU the order of some sums is left to the hardware: what may differ is told, and must stay small.
        if not logits < 0.5:
            raise AssertionError(f"the logits of a resumed fold differ by {logits:.3g}")

    return work


def differences(one: Path, other: Path) -> tuple[float, float]:
    """The largest differences of two folds' weights and of their out-of-fold logits."""
    first, second = (load_file(folder / "model.safetensors") for folder in (one, other))
    weights = max(float(np.abs(first[key].astype(float) - second[key]).max()) for key in first)
    tables = [np.load(folder / "logits" / "oof-identity.npz")["logits"] for folder in (one, other)]
    return weights, float(np.abs(tables[0] - tables[1]).max())


def options(place: Place, tell: Tell) -> None:
    """Averaged weights, mixup, cutmix, clipped gradients, accumulation and stages in one training."""
    epochs = place.size(2, 1)
    stages = f"[{{epochs: {epochs}, frozen: trunk}}, {{epochs: {epochs}, size: {place.size(48, 16)}}}, "
    stages += f"{{epochs: {epochs}, lr: 1e-3}}]"
    words = ["train.mixup=0.2", "train.cutmix=1.0", "optim.clip=1.0", "train.ema_decay=0.99", f"train.stages={stages}"]
    words += [f"train.global_batch={place.size(256, 16)}"]
    tell(score=place.command("src.train", *place.words("options", *words))["mean_score"])


def checkpointing(place: Place, tell: Tell) -> None:
    """Gradient checkpointing: less memory for the same weights."""
    words = ["model.name=resnet18", "train.epochs=1"]
    place.command("src.train", *place.words("all-kept", *words))
    place.command("src.train", *place.words("recomputed", *words, "train.checkpointing=true"))
    weights, logits = differences(place.member("all-kept"), place.member("recomputed"))
    tell(weights_differ_by=weights, logits_differ_by=logits)
    if not logits < 0.5:
        raise AssertionError(f"the logits differ by {logits:.3g}")


def out_of_memory(place: Place, tell: Tell) -> None:
    """A GPU with little memory left: one line that names the batch that fits, and train.batch=auto then trains."""
    _limit_memory()
    words = [f"images.size={place.size(224, 64)}", f"train.batch={place.size(1024, 64)}", "train.epochs=1"]
    try:
        place.command("src.train", *place.words("too-large", *words))
    except CommandFailed as failed:
        tell(code=failed.code)
        if failed.code != "out-of-memory":
            raise
    else:
        raise AssertionError(f"{MEMORY_SHARE:.0%} of this GPU's memory was enough")
    words[1] = "train.batch=auto"
    answer = place.command("src.train", *place.words("fitting", *words, "train.global_batch=1024"))
    tell(batch=_kept(place, "fitting")["batch"], score=answer["mean_score"])


def _limit_memory() -> None:
    """Once CUDA begins in a process forked off this one, it may use a share of the memory."""
    import torch

    torch.cuda._lazy_call(lambda: torch.cuda.set_per_process_memory_fraction(MEMORY_SHARE))


def _kept(place: Place, run: str) -> dict:
    return json.loads((place.home / "runs" / NAME / run / "machine.json").read_text())


def synchronisations(place: Place, tell: Tell) -> None:
    """Where a training makes the processor wait for the GPU, as torch itself warns of it: places, and how often."""
    import warnings

    import torch

    seen = place.home / "synchronisations.txt"

    def note(message: object, category: type, filename: str, line: int, *_: object) -> None:
        if "synchroniz" in str(message):
            with seen.open("a") as file:
                file.write(f"{Path(filename).name}:{line}\n")

    warnings.showwarning = note
    warnings.simplefilter("always")
    torch.cuda._lazy_call(lambda: torch.cuda.set_sync_debug_mode("warn"))
    epochs = 3
    place.command("src.train", *place.words("waits", f"train.epochs={epochs}", "train.mixup=0.2", "optim.clip=1.0"))
    lines = seen.read_text().split() if seen.exists() else []
    steps = epochs * -(-place.size(4096, 48) * 4 // 5 // place.size(128, 8))
    tell(steps=steps, waits_a_step=len(lines) / steps)
    tell(places=", ".join(f"{name} {count}" for name, count in Counter(lines).most_common(12)))


def largest_batch(place: Place, tell: Tell) -> None:
    words = ["train.batch=auto", f"train.global_batch={place.size(1024, 16)}", "train.epochs=1"]
    answer = place.command("src.train", *place.words("auto-batch", *words))
    tell(batch=_kept(place, "auto-batch")["batch"], score=answer["mean_score"])


def predicted(place: Place, tell: Tell) -> None:
    """Two views to a CSV, an exported file that answers alike, and the page with its heat maps."""
    words = place.words("predicted")
    place.command("src.train", *words)
    free = [word for word in words if not word.startswith("fold=")]
    answer = place.command("src.predict", "--tta", *free)
    csv = place.home / "submissions" / NAME / "predicted.csv"
    rows = csv.read_text().count("\n") - 1
    tell(rows_of_csv=rows, keys=len(answer))
    place.command("src.predict", "--tta", "--export", *free)
    tell(exported=len(list((place.home / "runs" / NAME / "predicted" / "export").glob("*.safetensors"))))
    place.command("src.report", *free)
    page = place.home / "runs" / NAME / "predicted" / "report" / "report.html"
    tell(page_megabytes=page.stat().st_size / 1e6)
    if rows != place.size(512, 16):
        raise AssertionError(f"{rows} rows in the CSV")


def two_processes(place: Place, tell: Tell) -> None:
    """One fold by two processes; where they would share one GPU that is refused, and told how."""
    words = place.words("two", "train.epochs=1")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d"]
    command = [*torchrun, "--rdzv-endpoint", "127.0.0.1:0", "-m", "src.train", *words, "--json"]
    environment = os.environ | {
        "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONPATH": f"{REPOSITORY}:{os.environ.get('PYTHONPATH', '')}",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr, flush=True)
    finished = (place.member("two") / "done.json").exists()
    tell(exit=done.returncode, finished=finished)
    if place.cuda and _gpus() < 2:
        if finished or "bad-launch" not in done.stdout + done.stderr:
            raise AssertionError("two processes on one GPU were not refused")
        return
    if not finished:
        raise AssertionError("two processes did not finish the fold")


def _gpus() -> int:
    from src.core.devices import gpus

    return len(gpus().names)


def side_by_side(place: Place, tell: Tell) -> None:
    words = place.words("side-by-side", "fold=0..1", "machine.jobs=2")
    scores = [member["score"] for member in place.command("src.train", *words)["members"]]
    tell(folds=len(scores), lowest=min(scores))
    if len(scores) != 2 or not all(map(math.isfinite, scores)):
        raise AssertionError(f"scores {scores}")
