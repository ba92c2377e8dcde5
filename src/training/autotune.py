"""What only a trial tells before training: the fastest precision, layout and threads here, and the batch that fits.

Half precision doubles the speed of one processor and is emulated, slowly, by another; which layout suits depends on
the network's convolutions. A few steps tell it better than a list of processors.
"""

import contextlib
import copy
import hashlib
import json
import math
import multiprocessing
import platform
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch

from src.config.image_size import Size
from src.config.schema import Config
from src.core.console import log
from src.core.devices import apart
from src.core.distributed import ALONE, Ranks
from src.core.errors import Problem
from src.core.files import DamagedFile, read_json, write_json
from src.core.locks import hold
from src.core.memory import largest_batch
from src.core.paths import home
from src.models.freezing import NOTHING, TRUNK, freeze
from src.training.fold_job import global_batch
from src.training.machine import CONTIGUOUS, TINY, Machine, Share, cores, share_out
from src.training.stages import Stage, stages_of
from src.training.state import State
from src.training.step import try_batch

TOGETHER_SECONDS = 60  # that processes timed at once wait for each other
WORTH_SECONDS = 120  # of training; for less nothing is tried
TURNS = 3  # of all kinds, a step each that is timed after one that is not, and fewer where they take longer than
ENOUGH_SECONDS = 4.0  # a kind
BATCH = 16  # images a step of a trial where train.batch=auto leaves open how many fit
STEPS_OF = "code 3"  # raised where a step has become faster: what was measured before counts no more
CLEARLY = 1.05  # times as fast must another kind be before it takes the place of the usual one: less is noise

Step = Callable[[], object]
Begin = Callable[[Machine], Step]  # prepares a step of `images_tried` images


def faster(config: Config, kinds: list[Machine], images: int, begin: Begin) -> Machine:
    """The first of `kinds`, the usual one, or another that is clearly faster on this machine.

    begin: pickled, for the steps are timed in another process. images: seen by the whole training, so that nothing is
    tried where that would not pay. What was found of a kind is kept in runs/speeds.json and not measured again.
    """
    usual, batch = kinds[0], images_tried(config)
    if len(kinds) == 1:
        return usual
    stage = longest_stage(config)
    rests = "" if stage.frozen == NOTHING else f", frozen {stage.frozen}"
    key = (
        f"{config.model.name}, {stage.size} px{rests}, {batch} images, {_work_of(config)}; {machine_name()}; {STEPS_OF}"
    )
    known = _known().get(key, {})
    if _absent(kinds, known):
        # The first step of a process is slower than all others; this one has one thread, and training often more.
        lone = usual.threads and any(kind.threads is None for kind in kinds)
        held = usual.threads if lone else _cores_of(config)
        if _seconds(begin(usual), steps=2) / held * images / batch < WORTH_SECONDS:
            return usual
        with _alone():
            known = _known().get(key, {})
            if absent := _absent(kinds, known):
                found = dict(zip(map(_name, absent), step_seconds(begin, absent), strict=True))
                known |= found
                _remember(key, known)
                text = ", ".join(f"{name} {1000 * each / batch:.1f} ms" for name, each in found.items())
                log.info(f"tried on {batch} images, for each: {text}; kept in {_file()}")
    best = min(kinds, key=lambda kind: known[_name(kind)])
    return best if known[_name(best)] * CLEARLY < known[_name(usual)] else usual


def _cores_of(config: Config) -> int:
    """What a training takes of this machine; one of several side by side is told its share."""
    jobs, threads = config.machine.jobs, config.machine.threads
    return cores() if "auto" in (jobs, threads) else min(cores(), jobs * threads)


def _work_of(config: Config) -> str:
    """A hash of what else a step's work depends on."""
    train, images = config.train, config.images
    model = config.model.model_dump(exclude={"pretrained", "weights", "mean", "std"})
    facts = [model, images.bag_size, images.slices, train.hold_norms, train.ema_decay, train.checkpointing]
    text = json.dumps([*facts, config.optim.name], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def images_tried(config: Config) -> int:
    """Images of a trial's step: a piece of a real one, for convolutions of few images have other favourites."""
    whole, piece = global_batch(config), config.train.batch
    return min(whole, BATCH if piece == "auto" else piece)


def longest_stage(config: Config) -> Stage:
    """The stage that takes the time: where most pixels are seen, and of a frozen trunk a third of the work is done."""

    def work(stage: Stage) -> float:
        return stage.epochs * Size.of(stage.size).pixels / (3 if stage.frozen == TRUNK else 1)

    return max(stages_of(config), key=work)


def step_seconds(begin: Begin, kinds: list[Machine], at_once: int = 1) -> list[float]:
    """The median step of each kind, the kinds by turns; of several processes `at_once`, as folds are trained, their
    mean.

    In fresh processes: training forks later, must have started no threads until then, and what was forked off a
    process that has taken a step itself may not be able to take another. Raises Problem where one dies.
    """
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(at_once)
    pipes, children = [], []
    for _ in range(at_once):
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=_time, args=(begin, kinds, theirs, together))
        child.start()
        theirs.close()
        pipes.append(ours)
        children.append(child)
    try:
        return [sum(each) / at_once for each in zip(*(pipe.recv() for pipe in pipes), strict=True)]
    except EOFError:
        raise Problem(
            "trial steps ended without an answer: name train.precision, machine.layout and machine.threads, "
            "then nothing is tried",
            code="trial-failed",
        ) from None
    except BaseException:
        for child in children:
            child.kill()
        raise
    finally:
        for child in children:
            child.join()


def _time(begin: Begin, kinds: list[Machine], answer: Connection, together: Barrier) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the asking process's, which ends this one
    seconds: list[list[float]] = [[] for _ in kinds]
    for turn in range(TURNS):
        for kind, times in zip(kinds, seconds, strict=True):
            torch.set_num_threads(kind.threads or cores())
            step = begin(kind)
            if turn == 0:
                with contextlib.suppress(threading.BrokenBarrierError):
                    together.wait(TOGETHER_SECONDS)
            step()
            times.append(_seconds(step, 1))
        if sum(map(sum, seconds)) > ENOUGH_SECONDS * len(kinds):
            break
    answer.send([statistics.median(times) for times in seconds])


def _seconds(step: Step, steps: int) -> float:
    """Of the quickest of so many steps."""
    times = []
    for _ in range(steps):
        begun = time.perf_counter()
        step()
        times.append(time.perf_counter() - begun)
        if sum(times) > ENOUGH_SECONDS:
            break
    return min(times)


def open_kinds(config: Config, usual: Machine, parameters: int, share: Share) -> list[Machine]:
    """What the configuration leaves open and is not beyond doubt: the usual kind first, then those to be tried.

    On a GPU half precision and channels last are beyond doubt, and so is full precision for a tiny network. Each is
    tried with as many threads as a fold will have; which are best is only open for a fold that has all cores. For a
    tiny network one is the usual number: there two wait for each other longer than they work.
    """
    threads_open, tiny = share.jobs == 1 and config.machine.threads == "auto", parameters < TINY
    alone = 1 if tiny and usual.device == "cpu" else None
    kinds = [replace(usual, threads=alone if threads_open else share.threads)]
    if usual.device != "cpu":
        return kinds
    if not tiny:
        if config.train.precision == "auto" and usual.precision != "fp32":
            kinds += [replace(kind, precision="fp32") for kind in kinds]
        if config.machine.layout == "auto":
            kinds += [replace(kind, layout=CONTIGUOUS) for kind in kinds]
    if threads_open and cores() > 1:
        kinds += [replace(kind, threads=None if tiny else 1) for kind in kinds]
    return kinds


def _name(kind: Machine) -> str:
    threads = {None: "all threads", 1: "one thread"}.get(kind.threads, f"{kind.threads} threads")
    return f"{kind.precision} {kind.layout} {threads}"


def _absent(kinds: list[Machine], known: dict[str, float]) -> list[Machine]:
    return [kind for kind in kinds if _name(kind) not in known]


def machine_name() -> str:
    """The processor, how many of its cores are ours, and torch: what the speed of a step depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{name or platform.processor() or platform.machine()}, {cores()} cores, torch {torch.__version__}"


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Wait until no other process tries its steps: they would slow each other down, and what is found is kept."""
    lock = _file().with_name(".speeds.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as held:
        hold(held)
        yield


def _file() -> Path:
    return home() / "runs" / "speeds.json"


def _known() -> dict[str, dict[str, float]]:
    try:
        found = read_json(_file())
    except DamagedFile:
        return {}  # it is only a memory: what is lost is measured again
    return {
        key: times for key, times in found.items() if isinstance(times, dict) and all(map(_is_time, times.values()))
    }


def _is_time(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _remember(key: str, seconds: dict[str, float]) -> None:
    write_json(_file(), _known() | {key: seconds})


@dataclass(frozen=True)
class Tuner:
    """Of a throw-away `network`, for the training of so many folds that see so many images in all."""

    config: Config
    network: torch.nn.Module
    folds: int
    images: int
    ranks: Ranks

    def choose_kind(self, machine: Machine) -> Machine:
        """The machine with what the configuration leaves to a trial. Raises Problem where no image fits."""
        if self.ranks.count == 1:
            share = share_out(self.config, machine, self.folds)
            parameters = sum(p.numel() for p in self.network.parameters())
            kinds = open_kinds(self.config, machine, parameters, share)
            tried = copy.deepcopy(self.network)  # which learns: the heads of the folds begin with what this one sees
            found = faster(self.config, kinds, self.images, partial(begin_step, self.config, tried))
            alone = share.jobs == 1 and self.config.machine.threads == "auto"
            machine = replace(found, threads=found.threads if alone else None)
        if self.config.train.batch == "auto":
            fitting = partial(self._fitting_batch, machine)
            # In a process that ends: its GPU is free again, and folds can be forked to all of them.
            held_apart = machine.device == "cuda" and self.ranks.count == 1
            machine = replace(machine, batch=min(self.ranks.all_gather(apart(fitting) if held_apart else fitting())))
        return machine

    def _fitting_batch(self, machine: Machine) -> int:
        """The largest even part of a rank's share of the global batch that fits."""
        whole = -(-global_batch(self.config) // self.ranks.count)
        state = State(self.config, machine, self.network, self.ranks)
        fits = largest_batch(lambda batch: try_batch(state, self.config, batch), whole)
        if fits == 0:
            raise Problem(
                "not even one image fits into memory: lower images.size or choose a smaller model.name",
                code="out-of-memory",
            )
        return -(-whole // -(-whole // fits))


def begin_step(config: Config, network: torch.nn.Module, kind: Machine) -> Step:
    """A true step of even images: a throw-away `network` as its longest stage trains it, update and average too."""
    stage, state = longest_stage(config), State(config, kind, network, ALONE)
    state.rest(freeze(state.plain_network.backbone, stage.frozen, config.train.hold_norms))
    return partial(_step, state, config, stage)


def _step(state: State, config: Config, stage: Stage) -> None:
    shape = images_tried(config), config.planes, *Size.of(stage.size).shape
    images = torch.ones(shape, dtype=torch.uint8, device=state.device)  # not black: every place of a bag is filled
    state.train_mode()
    state.backward(state.forward(images).float().logsumexp(1).mean())
    state.update(config.optim.clip)
    if state.ema:
        state.ema.update(state.plain_network, step=1)
    if state.device.type == "cuda":
        torch.cuda.synchronize(state.device)
