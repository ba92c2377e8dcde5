"""The plan of a run with a budget: the probe, a trial from scratch where that may be better, speeds, and what fits."""

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch

from src.competition.auto_config import place_of, usual_side, with_values
from src.competition.competition import loaded_once, open_competition
from src.competition.plan_record import PAGE, PREDICTION, Facts, choices
from src.config import load as configs
from src.config import run_config
from src.config.image_size import Size
from src.config.request import Request
from src.config.schema import Config, seconds_of
from src.core.console import ProgressReporter, log, silenced
from src.core.files import read_csv, read_json
from src.core.paths import DONE, Run
from src.evaluation.bootstrap import bootstrap_interval, format_interval
from src.experiments.first_probe import FirstProbe, network_of
from src.experiments.learning_curve import lengths, promised
from src.experiments.speed_trials import SpeedTrials
from src.experiments.time_plan import FEWEST, Sizes, Speed, Work
from src.inference.network_features import NetworkFeatures
from src.inference.tta import view_names
from src.models.factory import build, only_size
from src.models.features import without_head
from src.models.freezing import at_most
from src.training.evaluate import stored_answers
from src.training.fold_job import global_batch
from src.training.machine import cores, share_out
from src.training.run import train_within

FINE_TUNE, SCRATCH, PROBE = "fine-tune", "scratch", "probe"
SIZES = {"cpu": list(range(128, 289, 16)), "gpu": list(range(128, 321, 32))}  # fine-tuned at
FIRST_SIZE = 128  # at which speeds are measured first
SMALL = 64  # pixels of the usual side, up to which features of photos may say little
WEAK = 0.5  # of the loss of a guess, from which a probe is weak
TRIAL_SHARE, TRIAL_LEAST = 0.15, 20  # of the budget for a trial from scratch; seconds, where the probe was quicker
SCRATCH_EPOCHS = 40  # at most
# Wanted before the picture is made larger; at most, and wanted before it is made larger than it is. What was measured
# stands in configs/fine-tune.yaml.
FINE_TUNE_EPOCHS = 3, 8
RECIPE = "fine-tune"  # configs/<name>.yaml, of how all weights are trained
OTHER_RATE = 1e-4  # of networks that the recipe was not tried on: usual for AdamW and published weights; not measured
PLANNED_KEYS = ("train.epochs", "train.precision")  # not as the recipe has them
SIMPLE = 40  # seconds of training, for less of which a rough measurement is enough
WORTH_ALL = 0.9  # of a fold's time, which all cores must save to be given to the last one
FASTEST = 5  # times as many images a second as torch sees that any engine does
MARGIN = 1.1  # what is planned may take so much longer
# What follows training is of the same process: prediction takes no start, and the page, which imports more, as long as
# a start (0.9 to 1.3 times, measured), here twice that to be sure, and for each row more.
PAGE_STARTS, PAGE_ROW = 2, 1e-3


@dataclass(frozen=True)
class Planned:
    """config: None where the time is too short for what is asked, as `text` says.

    instead: the run beside this one that has learned already what this one would. after: seconds kept for what follows
    training. speed: None where nothing is trained.
    """

    facts: Facts
    config: Config | None
    text: str
    instead: str = ""
    speed: Speed | None = None
    work: Work | None = None
    epochs: int = 0
    after: float = 0.0


class Planner:
    """One plan of one request. Trains and predicts the probe on its way.

    begun: when the command began; since then `starts` processes have imported what a command needs.
    """

    def __init__(self, request: Request, begun: float, starts: int) -> None:
        self.request, self.config, self.begun = request, request.config, begun
        self.total = seconds_of(request.config.budget)
        self.place = place_of(request.config.machine.device)
        self.took: dict[str, float] = {}
        self.speeds: list[Speed] = []
        self.trial: Facts | None = None
        self.start = (time.monotonic() - begun) / starts
        cv2.setNumThreads(0)

    def plan(self) -> Planned:
        unplanned = with_values(self.config.model_copy(update={"budget": None}), {"model.pretrained": False})
        with loaded_once([unplanned]):
            with silenced():
                self.competition = open_competition(unplanned, Run(self.request.competition, self.request.run))
            self.usual = self.competition.config  # without any auto, from scratch
            self.trials = SpeedTrials(self.competition, len(self.request.members), self.total)
            self._mark("competition")
            self.first_probe = FirstProbe(self.request, self.competition, self.usual, self.trials, lambda: self._left)
            self.probe = self.first_probe.fitted()
            self._mark("probe")
            if self._nothing_to_gain():
                return self._probe_stays("none of its held-out answers is wrong, so none can be told to be better")
            by, self.trial = self._family()
            planned = self._fitting(by)
            if planned.config is None and self.probe is None and self.config.model.name == "auto" and by != SCRATCH:
                planned = self._fitting(SCRATCH)  # smaller pictures and a smaller network
        return planned

    def _nothing_to_gain(self) -> bool:
        """Whether the probe's score is the best that there is, where the network may be chosen."""
        if self.probe is None or self.config.model.name != "auto":
            return False
        return self.probe["value"] == self.competition.metric.perfect

    # Time

    def _mark(self, part: str) -> None:
        """What passed since the last mark belongs to this part."""
        passed = time.monotonic() - self.begun - sum(self.took.values())
        self.took[part] = round(self.took.get(part, 0.0) + passed, 1)

    @property
    def _left(self) -> float:
        return self.begun + self.total - time.monotonic()

    def _page(self) -> float:
        """Seconds of what follows training, but for the images that are predicted."""
        return PAGE_STARTS * self.start + PAGE_ROW * len(self.competition.samples.train)

    # Scratch or not

    def _family(self) -> tuple[str, Facts | None]:
        """How to go on, and the trial that decided it."""
        if self.config.model.name != "auto":
            return (FINE_TUNE if self.first_probe.named else SCRATCH), None
        small = usual_side(self.competition.samples) <= SMALL
        if self.probe is None:  # a kind of target without heads, where there are weights
            return (FINE_TUNE if self.first_probe.networks and not small else SCRATCH), None
        if (not small and not self._is_weak()) or self._may_be_perfect():
            return FINE_TUNE, None
        return self._trial(small)

    def _member(self) -> tuple[int, int]:
        """Of the first fold that is asked for."""
        return self.request.members[0]

    def _is_weak(self) -> bool:
        samples, target = self.competition.samples, self.competition.target
        folder = Run(self.request.competition, self.probe["run"]).member(*self._member())
        log_file = read_csv(folder / "log.csv")
        if "held_out_loss" not in log_file:
            return False
        chance = target.chance_loss(samples.targets, None, 0.0, len(samples.classes))
        return float(log_file["held_out_loss"].iloc[-1]) > WEAK * (chance if np.isfinite(chance) else 1.0)

    def _may_be_perfect(self) -> bool:
        """Whether the rows that the trial's fold holds out are too few for any answer to be told to be better than the
        probe's: the interval of its score there reaches the best score that there is, where that is known."""
        seed, fold = self._member()
        opened, held = self.competition, self.competition.folds.rows(fold)[1]
        answers = stored_answers(opened, Run(opened.card.id, self.probe["run"]), (seed,), fold, held)
        at, metric = opened.rows.at(held), opened.metric
        if metric.perfect is None:
            return False
        low, high = bootstrap_interval(metric, opened.samples.targets[held], answers, at.groups, rows=at)
        found = high >= metric.perfect if metric.higher_is_better else low <= metric.perfect
        if found:
            log.info(
                f"no trial from scratch: {metric.name} of the probe on fold {fold} is {format_interval(low, high)}, so "
                f"nothing could be told to be better on its {len(held)} rows"
            )
        return found

    def _trial(self, small: bool) -> tuple[str, Facts | None]:
        """One fold from scratch against the probe's, on the same held-out rows: what its trend promises for the epochs
        that fit."""
        config, member = self._from_scratch(), self._member()
        work, rough = self._work(config, folds=1), self.trials.rough(config)
        seconds = min(TRIAL_SHARE * self.total, max(TRIAL_LEAST, 4 * self.took["probe"]))
        most = rough.epochs(replace(work, passes=0), seconds)
        if most < FEWEST:
            return FINE_TUNE, None
        scores: dict[int, float] = {}
        name = f"{self.request.run}-scratch"
        whole = (SCRATCH_EPOCHS,) if most >= SCRATCH_EPOCHS else lengths(most)
        for run, epochs in zip((f"{name}-short", name)[-len(whole) :], whole, strict=True):
            begun = self._stored(run)
            config = with_values(config, {"train.epochs": begun.train.epochs if begun else epochs})
            request = replace(self.request, config=config, run=run, seeds=(member[0],), folds=(member[1],), flags={})
            with silenced(), ProgressReporter(what="trial") as terminal:
                train_within(request, terminal)
            scores[config.epochs] = self._score(run, member)
        epochs = max(scores)
        own, probes = scores[epochs], self._score(self.probe["run"], member)
        fitting = max(epochs, min(SCRATCH_EPOCHS, rough.epochs(self._work(config), self._room())))
        promise = promised(scores, fitting, perfect=self.competition.metric.perfect)
        better = promise > probes if self.competition.metric.higher_is_better else promise < probes
        why = "the pictures are small" if small else "the probe is weak"
        trend = f", which promises {promise:.4f} after the {fitting} that fit" if fitting > epochs else ""
        log.info(
            f"{why}: {epochs} epochs of {config.model.name} from scratch reach {own:.4f} on fold {member[1]}{trend}; "
            f"the probe {probes:.4f}: going on {'from scratch' if better else 'from the probe'}"
        )
        self._mark("trial from scratch")
        return (SCRATCH if better else FINE_TUNE), {
            "run": name,
            "fold": member[1],
            "epochs": epochs,
            "score": own,
            "scores": scores,
            "promised": promise,
            "probe": probes,
            "config": config.hash(),
        }

    def _stored(self, name: str) -> Config | None:
        run = Run(self.request.competition, name)
        return run_config.read(run.folder) if run_config.is_stored(run) else None

    def _score(self, run: str, member: tuple[int, int]) -> float:
        return read_json(Run(self.request.competition, run).member(*member) / DONE)["score"]

    # Configurations

    def _from_scratch(self) -> Config:
        return with_values(self.usual, {"model.pretrained": False})

    def _fine_tuned(self) -> Config:
        """The recipe, but for what was set otherwise, for the network that is named or that of the probe."""
        probed, named = self._stored(self.probe["run"]).model if self.probe else None, self.first_probe.named
        own = named or probed
        begins = {"model.name": own.name, "model.pretrained": own.pretrained} if own else self.first_probe.networks[0]
        config, values = with_values(self.usual, begins), recipe()
        name = config.model.name
        if probed and (probed.name, probed.weights) == (name, config.model.weights):
            values |= {"model.stem": "stock", "model.pool": probed.pool}
        else:
            values["train.head_init"] = "random"
        if name != network_of(RECIPE):
            values["optim.lr"] = OTHER_RATE
        size, classes = self.usual.images.size, len(self.competition.samples.classes)
        backbone = build(config.model, classes, size, self.competition.target, load=False).backbone
        values["train.frozen"] = at_most(values["train.frozen"], backbone)
        return with_values(config, {key: value for key, value in values.items() if key not in self.request.given})

    def _wanted(self, by: str) -> tuple[int, int]:
        """(epochs for which the picture may be made no smaller, epochs at most)"""
        return (FEWEST, SCRATCH_EPOCHS) if by == SCRATCH else FINE_TUNE_EPOCHS

    # What fits

    def _work(self, config: Config, folds: int | None = None) -> Work:
        samples = self.competition.samples
        folds = folds or len(self.request.members)
        rows, held = map(len, self.competition.folds.rows(self._member()[1]))
        test, views = len(samples.test), len(config.predict.views)
        passes = round(folds * (held * max(0, views - 1) + test * views))
        share = share_out(config, self.trials.machine(config), folds)
        return Work(rows, held, passes, folds, share.jobs, global_batch(config))

    def _fitting(self, by: str) -> Planned:
        config = self._from_scratch() if by == SCRATCH else self._fine_tuned()
        config = config.model_copy(update={"budget": self.config.budget})
        work = self._work(config)
        wanted, most = self._wanted(by)
        rising = config.schedule.warmup_steps or 0
        from_probe = self.probe and config.train.head_init == PROBE and self.config.model.name == "auto"
        if from_probe and most * work.steps < 2 * rising:
            return self._larger_probe_stays(
                f"the rate of its recipe rises for {rising} steps, and {most} epochs of {work.rows} images are only "
                f"{most * work.steps}: what the probe knows would be lost"
            )
        free = by == FINE_TUNE and self.config.images.size == "auto"
        widest = self.probe["size"] if self.probe else 0
        most_side = max(FIRST_SIZE, widest, 2 * usual_side(self.competition.samples))
        own = max(FIRST_SIZE, usual_side(self.competition.samples))
        some = [size for size in SIZES[self.place] if size <= most_side] if free else [config.images.size]
        only = only_size(config.model, len(self.competition.samples.classes), FIRST_SIZE) if free else None
        some = [only] if only else some
        sizes = Sizes(some, own, wanted, most)
        first = min(some, key=lambda size: abs(Size.of(size).short - FIRST_SIZE))
        head = self._head_seconds(config)
        speed = self.trials.rough(with_values(config, {"images.size": first}), head)
        self._mark("speeds")
        speed = speed.at(sizes.largest(speed, work, self._room()))
        config = with_values(config, {"images.size": speed.size})
        if speed.epochs(work, self._room()) < FEWEST:
            return self._too_short(speed, work)
        if self.total > 2 * SIMPLE and speed.folds(work, min(wanted, most)) > SIMPLE:
            speed, slower = self.trials.precise(config, head)
            self.speeds += slower
            self._mark("speeds")
            before = partial(self._ready_seconds, config, work)
            speed = speed.at(sizes.largest(speed, work, self._room(), before))
            self._ready_images(with_values(config, {"images.size": speed.size}))
            self._mark("images")
            size = sizes.up_to(speed.size).largest(speed, work, self._room())
            speed = speed.at(size)
            config = with_values(config, {"train.precision": speed.precision, "images.size": size})
            layout: dict[str, Any] = {"layout": speed.layout}
            if config.machine.threads == "auto" and work.jobs > 1 and speed.alone > WORTH_ALL:
                layout["threads"] = self.trials.share(config).threads  # the last fold too
            config = config.model_copy(update={"machine": config.machine.model_copy(update=layout)})
        self.speeds.append(speed)
        self._ready_images(config)
        self._mark("images")
        epochs = min(most, speed.epochs(work, self._room()))
        if epochs < FEWEST:
            return self._too_short(speed, work)
        config = with_values(config, {"train.epochs": epochs})
        return self._planned(by, config, speed, work, epochs)

    def _room(self) -> float:
        """Seconds that training and prediction may be planned to take."""
        return (self._left - self._page()) / MARGIN

    def _planned(self, by: str, config: Config, speed: Speed, work: Work, epochs: int) -> Planned:
        instead = ""
        unplanned = config.model_copy(update={"budget": None})
        if self.trial and by == SCRATCH and self.trial["config"] == unplanned.hash():
            instead = self.trial["run"]
        training, answers = speed.folds(work, epochs), speed.answers(work)
        parts = {"training": training, PREDICTION: answers, PAGE: self._page()}
        facts = self._facts(by, config, parts, epochs)
        how = "from the probe" if config.train.head_init == PROBE else "with published weights"
        how = how if config.model.pretrained else f"with {config.model.weights or 'no weights'}"
        after = answers + parts[PAGE]
        more = "" if "budget" in self.request.given else "\nbudget=60m, or any other time, plans for that one instead"
        text = (
            f"plan for {self.config.budget}: {speed.network} {how}, {speed.size} px, {epochs} epochs, "
            f"{work.folds} folds: training {training / 60:.1f} min, prediction and page {after / 60:.1f} min; "
            f"{self._left / 60:.1f} min are left\n"
            f"measured: {work.batch / speed.step:.0f} images/s a fold, {work.jobs} at once, in {speed.precision}{more}"
        )
        return Planned(facts, config, text, instead, speed, work, epochs, after)

    def _too_short(self, speed: Speed, work: Work) -> Planned:
        """The probe stays the answer, where it may."""
        self.speeds += [] if speed in self.speeds else [speed]
        need = self.total - self._room() + speed.answers(work) + speed.folds(work, FEWEST)
        need_text = (
            f"{FEWEST} epochs of {speed.network} at {speed.size} px would need about budget={round(need / 60 + 0.5)}m"
        )
        if self.probe is None or self.config.model.name != "auto":
            there = f" The probe's answer is there: {self.probe['file']}" if self.probe else ""
            text = f"budget={self.config.budget} is too short to train anything: {need_text}.{there}"
            return Planned({}, None, text)
        return self._larger_probe_stays(need_text)

    def _larger_probe_stays(self, why: str) -> Planned:
        """On larger pictures where the time allows and the score gains by them."""
        self.probe = self.first_probe.larger(self.probe, self.took["probe"], self._left - self._page())
        self._mark("larger probe")
        return self._probe_stays(why)

    def _probe_stays(self, why: str) -> Planned:
        config = self._stored(self.probe["run"]).model_copy(update={"budget": self.config.budget})
        text = f"plan for {self.config.budget}: the probe stays the answer; {why}"
        return Planned(self._facts(PROBE, config, {}, 1), config, text, self.probe["run"])

    def _facts(self, by: str, config: Config, parts: dict[str, float], epochs: int) -> Facts:
        return {
            "budget": self.config.budget,
            "seconds": self.total,
            "by": by,
            "network": config.model.name,
            "size": config.images.size,
            "epochs": epochs,
            "chosen": choices(self.config, config),
            "probe": self.probe,
            "scratch": self.trial,
            "speeds": [vars(one) for one in self.speeds],
            "planned": {part: round(seconds, 1) for part, seconds in parts.items()},
            "took": dict(self.took),
            "left_out": [],
        }

    # Speeds

    def _head_seconds(self, config: Config) -> float:
        """Of a fold's first head on one core, as the probe's took on all."""
        if config.train.head_init != PROBE or self.probe is None:
            return 0.0
        run = Run(self.request.competition, self.probe["run"])
        return cores() * float(read_csv(run.member(*self._member()) / "log.csv")["seconds"].iloc[-1])

    def _ready_seconds(self, config: Config, work: Work, speed: Speed) -> float:
        """About what `_ready_images` will take: as the probe's features, unless an earlier command computed those."""
        if config.train.head_init != PROBE or self.probe is None:
            return 0.0
        samples = self.competition.samples
        by_torch = speed.answer * len(config.probe.views) * (len(samples.train) + len(samples.test)) / work.jobs
        as_before = self.took["probe"] * Size.of(speed.size).pixels / Size.of(self.probe["size"]).pixels
        return min(by_torch, max(as_before, by_torch / FASTEST))

    def _ready_images(self, config: Config) -> None:
        """Decode the images at this size and, where a fold begins with a fitted head, see them through the frozen
        network: both are kept, and the time that they took is known."""
        competition = replace(self.competition, config=config)
        competition.images()
        if config.train.head_init != PROBE:
            return
        network = build(config.model, len(competition.samples.classes), config.images.size, competition.target)
        without_head(network)
        device = self.trials.machine(config).device
        network.to(device, memory_format=torch.channels_last)
        views = view_names(config.probe.views, config.images.size)
        torch.set_num_threads(cores() if self.config.machine.threads == "auto" else self.config.machine.threads)
        NetworkFeatures(competition, network, config.model.name, device).ensure(views)


def recipe() -> dict[str, Any]:
    """{key: value} of how a network with weights is fine-tuned, as the recipe's file has it."""
    tree = configs.load_tree(configs.config_file(RECIPE))
    kept = {section: tree.get(section, {}) for section in ("augment", "optim", "probe", "schedule", "train")}
    values = {f"{section}.{key}": value for section, keys in kept.items() for key, value in keys.items()}
    values.setdefault("train.global_batch", values["train.batch"])
    return {key: value for key, value in values.items() if key not in PLANNED_KEYS}
