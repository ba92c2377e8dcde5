"""The steps of the script, in the order in which they run: what must hold first, then what is fast."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.gpu import correct, speed
from tests.gpu.place import Place

__all__ = ["STEPS", "Place", "Step"]

Tell = Callable[..., None]


@dataclass(frozen=True)
class Step:
    """work(place, tell): tell(name=value ...) as soon as a figure is known. seconds: its limit."""

    name: str
    seconds: float
    work: Callable[[Place, Tell], None]
    absent: Callable[[Place], str | None] = lambda place: None


def _no_gpu(place: Place) -> str | None:
    return None if place.cuda else "it takes a GPU"


def _tested_elsewhere(place: Place) -> str | None:
    return "tests/core/test_distributed.py does it at this size" if place.tiny else None


def _two_gpus(place: Place) -> str | None:
    from src.core.devices import gpus

    return None if place.cuda and len(gpus().names) > 1 else "it takes two GPUs"


STEPS = {
    step.name: step
    for step in (
        Step("machine", 30, speed.machine),
        Step("resume in fp32", 60, correct.resume("fp32")),
        Step("resume in bf16", 60, correct.resume("bf16")),
        Step("resume in fp16", 60, correct.resume("fp16"), _no_gpu),
        Step("learning options", 40, correct.options),
        Step("checkpointing", 40, correct.checkpointing),
        Step("out of memory", 60, correct.out_of_memory, _no_gpu),
        Step("largest batch", 40, correct.largest_batch),
        Step("views, export, page", 90, correct.predicted),
        Step("two processes", 60, correct.two_processes, _tested_elsewhere),
        Step("waits for the GPU", 40, correct.synchronisations, _no_gpu),
        Step("folds side by side", 60, correct.side_by_side, _two_gpus),
        Step("input", 30, speed.input_pipeline),
        *(Step(f"training {name}", 60, speed.training(name)) for name in speed.NETWORKS),
        Step("compile and layout", 60, speed.variants),
        Step("butterflies-100 at 112 px", 300, speed.butterflies, speed.no_butterflies),
    )
}
