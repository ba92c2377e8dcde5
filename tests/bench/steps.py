"""How near a training step comes to what one core of this processor can do, and where its time goes.

usage: python -m tests.bench.steps [repeats]

The steps are those of src.training, on even images, by one thread. The limit is a product of two square matrices in
the same precision. What a step has to compute is counted by torch; its time is told apart by torch's profiler. The last
line is JSON. Seconds are the processor's, so that other work on the machine takes little from them.
"""

import json
import math
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from src.competition.auto_config import with_values
from src.config import load as configs
from src.config.request import DEMO
from src.core.console import silenced
from src.models.factory import build
from src.targets.multiclass import Multiclass
from src.training.autotune import begin_step
from src.training.machine import CHANNELS_LAST, Machine, knows_bf16
from src.training.state import HALF
from tests.bench.machine import commit, machine
from tests.bench.process import own
from tests.bench.row import PODIUM, Figures, Line, Row, Trial

REPEATS, SIDE, CLASSES = 5, 2048, 20
FIXED = {"model.pretrained": False, "train.epochs": 1, "train.head_init": "random", "train.global_batch": 32}
RESNET = {"model.name": "resnet18", "images.size": 64, "images.load_size": 64}
STEPS = {
    "resnet18 at 64 px, all weights": ("demo-digits", RESNET | {"train.batch": 64, "train.global_batch": 64}),
    "tf_efficientnet_lite0 at 128 px, as configs/fine-tune.yaml": ("fine-tune", {"model.pool": "stages"}),
}
PRECISIONS = ("fp32", "bf16") if knows_bf16() else ("fp32",)
KINDS = {
    "norm": "norms",
    "hardtanh": "activations",
    "clamp": "activations",
    "relu": "activations",
    "threshold": "activations",
    "copy_": "copies and casts",
    "fill_": "copies and casts",
    "fused_": "optimizer and average",
    "lerp": "optimizer and average",
    "foreach": "optimizer and average",
}
WEIGHT_AT = {"aten::mkldnn_convolution": 1, "aten::convolution_backward": 2}


def main(argv: list[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    repeats = int(words[0]) if words else REPEATS
    torch.set_num_threads(1)
    print(f"{machine()}, commit {commit()}, one thread, medians of {repeats}\n")
    print("| step | precision | images/s | GFLOP/s | share of the limit | where the time goes |")
    print("|---|---|---|---|---|---|")
    figures: Figures = {}
    for name, (config, values) in STEPS.items():
        for precision in PRECISIONS:
            images, rate, limit, shares = _measured(config, values, precision, repeats)
            of_limit = f"{rate / limit:.1%} of {limit / 1e9:.0f}"
            print(f"| {name} | {precision} | {images:.0f} | {rate / 1e9:.0f} | {of_limit} | {shares} |", flush=True)
            told = _told(name, precision)
            figures |= {told: images, f"{told}, share": rate / limit}
    print(json.dumps(figures))
    return 0


def _told(name: str, precision: str) -> str:
    return f"{name}, {precision}"


def _measured(name: str, values: dict[str, object], precision: str, repeats: int) -> tuple[float, float, float, str]:
    """Images a second, operations a second, those of the limit, and where the time goes."""
    config = configs.load(name, {}, DEMO)
    config = with_values(config, FIXED | values)
    with silenced():
        network = build(config.model, CLASSES, config.images.size, Multiclass())
    kind = Machine(device="cpu", precision=precision, layout=CHANNELS_LAST, batch=config.train.global_batch, workers=0)
    step = begin_step(config, network, kind)
    step()
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution_backward: _backward}) as counted:
        step()
    work = counted.get_total_flops()
    seconds, limit = _median(step, repeats), 2 * SIDE**3 / _median(_product(precision), repeats)
    return config.train.global_batch / seconds, work / seconds, limit, _shares(step)


def _backward(outputs: list[int], _: list[int], weight: list[int], *more: object, **__: object) -> int:
    """Operations of a convolution's gradients; torch's own count takes one of groups for one of all channels."""
    return 2 * math.prod(outputs) * math.prod(weight[1:]) * sum(more[-1][:2])


def _product(precision: str) -> Callable[[], object]:
    left, right = torch.randn(2, SIDE, SIDE, dtype=HALF.get(precision, torch.float32))
    return lambda: left @ right


def _median(work: Callable[[], object], repeats: int) -> float:
    work()
    times = []
    for _ in range(repeats):
        begun = time.process_time()
        work()
        times.append(time.process_time() - begun)
    return statistics.median(times)


def _shares(step: Callable[[], object]) -> str:
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as seen:
        step()
    spent: Counter[str] = Counter()
    for event in seen.key_averages(group_by_input_shape=True):
        spent[_kind(event.key, event.input_shapes)] += event.self_cpu_time_total
    whole = sum(spent.values())
    return ", ".join(f"{kind} {each / whole:.0%}" for kind, each in spent.most_common() if each > 0.01 * whole)


def _kind(operation: str, shapes: list[list[int]]) -> str:
    if operation in WEIGHT_AT:
        weight = shapes[WEIGHT_AT[operation]]
        return "depthwise convolutions" if weight[1] == 1 else "other convolutions"
    return next((kind for part, kind in KINDS.items() if part in operation), "the rest")


def with_podium(trial: Trial) -> Figures:
    return own(Path(__file__), 1 if trial.tiny else REPEATS)


ROW = Row(
    "steps",
    {PODIUM: with_podium},
    tuple(
        Line("steps of training on one core, images/s", told, None, None, share=f"{told}, share")
        for name in STEPS
        for told in (_told(name, precision) for precision in PRECISIONS)
    ),
    "One thread; the limit is a product of two square matrices in the same precision.",
)

if __name__ == "__main__":
    sys.exit(main())
