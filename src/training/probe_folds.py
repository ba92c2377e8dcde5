"""Folds whose last layer alone is fitted, on the features that a frozen network has of every image.

What comes of it is a run like any other: the network with its last layer set, and the logits of every view, which here
are the features times that layer. With `probe.features` another program brings the features, and the layer is all.
"""

import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from src.competition.competition import Competition
from src.competition.folds import deal_units, units_of
from src.competition.run_record import save_or_verify
from src.core.console import log
from src.core.distributed import ALONE, Ranks
from src.core.errors import UsageError
from src.core.files import sweep_parts, written_whole
from src.core.locks import only_one
from src.core.paths import Run
from src.core.reporter import Reporter
from src.core.seeding import START, key, seed_all
from src.inference.backends import TORCH
from src.inference.brought_features import brought_features
from src.inference.logits_store import logits_file, save_logits
from src.inference.network_features import FP32, NetworkFeatures, check_begins_trained
from src.inference.tta import PLAIN, VIEWS, view_names
from src.models.factory import Network, build
from src.models.features import Head, without_head
from src.targets import TargetType
from src.training.evaluate import Scores
from src.training.finish import write_fold
from src.training.fold_job import FoldJob
from src.training.machine import choose, cores
from src.training.probes import LinearHead, PrincipalAxes, Probe, probes_of

ENOUGH = 2000  # inner held-out rows that tell one strength from another
SMALL = 2e8  # multiplications of a pass up to which a second core costs more than it brings
INNER = 5  # inner folds, where the outer ones leave none
SCALES = 2.0 ** np.arange(-4, 1.5, 0.5)  # by which logits are tried to be multiplied


def fit_probes(
    members: list[tuple[int, int | str]], competition: Competition, run: Run, ranks: Ranks, reporter: Reporter
) -> None:
    """Fit the heads of these seeds and folds, one after the other, each on all cores.

    Raises UsageError for several processes, Problem for a network without weights or without one linear last layer.
    """
    if ranks.count > 1:
        raise UsageError(
            "probe.head is fitted in one process: give this command without a launcher", code="one-process"
        )
    config = competition.config
    brought = brought_features(competition)
    if brought is None:
        check_begins_trained(config.model)
    probes_of(config.probe.head, competition.target)
    if brought is None:
        network = build(config.model, len(competition.samples.classes), config.images.size, competition.target)
        parameters = sum(p.numel() for p in network.parameters())
        without_head(network)
        images = competition.images()
        what = f"{config.model.name}: {parameters / 1e6:.2f} M parameters, frozen, {config.images.size} px"
    else:
        brought.check(run)
        parameters, images, what = brought.width * len(competition.samples.classes), None, "a last layer alone"
    save_or_verify(run, competition)
    fp32 = config.model_copy(update={"train": config.train.model_copy(update={"precision": FP32})})
    machine = choose(fp32, parameters, run.folder / "machine.json", lambda machine: machine)
    threads = cores() if config.machine.threads == "auto" else config.machine.threads
    torch.set_num_threads(threads)
    log.info(f"{what}, on {machine.device}")
    for seed, fold in members:
        job = FoldJob(competition, images, run, machine, seed, fold, 1, threads, None, ALONE)
        with only_one(job.folder, f"{job.name} of run {run.name}"):
            if not run.finished(seed, fold):
                sweep_parts(job.folder)
                _ProbeFold(job, reporter).run()


@dataclass(frozen=True)
class _Choice:
    """A kind of head and a strength, with what inner folds tell of it. scale: what its logits are multiplied by."""

    probe: Probe
    strength: float
    scale: float
    loss: float


class HeadAlone(nn.Module):
    """In place of a network, where another program brings the features: its backbone is to be the last layer alone."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.head = nn.Identity()


class _ProbeFold:
    """The fit of one fold of one seed."""

    def __init__(self, job: FoldJob, reporter: Reporter) -> None:
        self.job, self.reporter, competition = job, reporter, job.competition
        self.competition, self.config, self.target = competition, competition.config, competition.target
        self.outputs = len(competition.samples.classes)
        self.rows, self.held_out = competition.folds.rows(job.fold)
        self.truth = torch.from_numpy(competition.samples.targets)
        self.learned = view_names(self.config.probe.views)
        self.views = tuple(dict.fromkeys((*PLAIN, *self.learned, *view_names(self.config.predict.views))))
        self.brought = brought_features(competition)
        if self.brought:
            self.learned = self.brought.among(self.learned)
            self.views = tuple(view for view in self.views if view in self.brought.views)

    def run(self) -> None:
        begun, job = time.monotonic(), self.job
        network, head = self._network()
        features = self.brought or NetworkFeatures(
            self.competition, network, self.config.model.name, job.machine.device
        )
        features.ensure(self.views)
        fitting = time.monotonic()
        seen = {view: torch.from_numpy(features.read(view)) for view in self.views}
        choice, fitted = self._fit(torch.stack([seen[view][self.rows] for view in self.learned]).mean(0))
        head.set(fitted.weight, fitted.bias)
        network.backbone.set_submodule(head.name, head.layer)
        logits = {view: fitted.logits(table).numpy() for view, table in seen.items()}
        seconds, scores = time.monotonic() - fitting, self._scores(logits[PLAIN[0]])
        entry = self._entry(logits[PLAIN[0]], scores, seconds)
        job.folder.mkdir(parents=True, exist_ok=True)
        with written_whole(job.folder / "log.csv") as part:
            pd.DataFrame([entry]).to_csv(part, index=False)
        told = {"head": choice.probe.name, "strength": choice.strength, "inner_loss": choice.loss}
        told |= {"features": self.brought.digest} if self.brought else {}
        done = {"probe": told, "feature_seconds": round(fitting - begun, 1)}
        log.info(f"{job.name}: {choice.probe.name} of strength {choice.strength:g}, inner loss {choice.loss:.4f}")
        write_fold(job, network.backbone, [entry], done, scores)
        self._store(logits, done["weights"])
        self.reporter.end(job.name)

    def _network(self) -> "tuple[Network | HeadAlone, Head]":
        """The network without its last layer, and that layer. Nothing of either is random but what the head forgets."""
        job, config = self.job, self.config
        if self.brought:
            return HeadAlone(), Head("head", nn.Linear(self.brought.width, self.outputs))
        seed_all(key(job.seed, job.fold, START))
        network = build(config.model, self.outputs, config.images.size, self.target)
        network.to(job.machine.torch_device, memory_format=torch.channels_last).eval()
        return network, without_head(network)

    def _fit(self, features: torch.Tensor) -> tuple[_Choice, LinearHead]:
        """The head of the kind and strength that does best on inner folds, fitted on all training rows.

        features: (training rows, width), the mean over the views, which is overwritten.
        """
        small = features.numel() * self.outputs < SMALL
        torch.set_num_threads(1 if small else self.job.threads)
        axes = PrincipalAxes(features.clone())
        turned, truth, inner = axes.turned(features), self.truth[self.rows], self._inner_folds()
        probes = probes_of(self.config.probe.head, self.target)
        choice = min((self._chosen(probe, turned, truth, inner) for probe in probes), key=lambda one: one.loss)
        strengths = choice.probe.strengths
        path = strengths[: strengths.index(choice.strength) + 1][-2:]  # from the stronger one it is near
        *_, fitted = choice.probe.path(turned, truth, self.outputs, path)
        return choice, axes.back(fitted.times(choice.scale))

    def _inner_folds(self) -> np.ndarray:
        """(training rows,) the inner fold of each: the other outer folds, so that groups stay together."""
        found = self.competition.folds.of_row[self.rows]
        if len(np.unique(found[found >= 0])) > 1:
            return found
        samples = self.competition.samples
        strata = self.target.strata(samples.targets[self.rows])
        return deal_units(strata, units_of(samples.train)[self.rows], INNER, self.config.data.fold_seed)

    def _chosen(self, probe: Probe, turned: torch.Tensor, truth: torch.Tensor, inner: np.ndarray) -> _Choice:
        """The strength with the least loss on inner held-out rows, of as many inner folds as it takes.

        From the strongest on, until it gets worse.
        """
        parts, scored = [], 0
        for fold in np.unique(inner[inner >= 0]):
            if scored < ENOUGH:
                parts.append(torch.from_numpy(inner == fold))
                scored += int(parts[-1].sum())
        known = torch.cat([truth[held] for held in parts]).numpy()
        paths = [probe.path(turned[~held], truth[~held], self.outputs, probe.strengths) for held in parts]
        choices: list[_Choice] = []
        for heads in zip(*paths, strict=True):
            answers = [head.logits(turned[held]).numpy() for head, held in zip(heads, parts, strict=True)]
            scale, loss = _best_scale(self.target, known, np.concatenate(answers))
            choices.append(_Choice(probe, heads[0].strength, scale, loss))
            best = min(choices, key=lambda one: one.loss)
            if best is not choices[-1]:
                break
        return best

    def _scores(self, logits: np.ndarray) -> Scores | None:
        if not len(self.held_out):
            return None
        competition, answers = self.competition, logits[self.held_out]
        truth = competition.samples.targets[self.held_out]
        rows = competition.rows.at(self.held_out)
        score = competition.metric.score(truth, self.target.predictions(answers), rows=rows)
        return Scores(answers, self.target.plain_loss(truth, answers), score)

    def _entry(self, logits: np.ndarray, scores: Scores | None, seconds: float) -> dict[str, float]:
        """What log.csv holds of the fit, as of an epoch."""
        truth = self.competition.samples.targets[self.rows]
        entry = {"epoch": 1, "steps": 1, "loss": self.target.plain_loss(truth, logits[self.rows]), "lr": 0.0}
        entry |= {"seconds": round(seconds, 3), "images_per_second": round(len(self.rows) / max(seconds, 1e-9), 1)}
        return entry | ({"held_out_loss": scores.loss, "score": scores.score} if scores else {})

    def _store(self, logits: dict[str, np.ndarray], weights: str) -> None:
        """The logits of every view, so that no image is seen again."""
        job, samples, count = self.job, self.competition.samples, len(self.competition.samples.train)
        meta = {"engine": TORCH, "precision": FP32, "size": self.config.images.size, "weights": weights}
        meta |= {"images": self.competition.images_hash}
        ids = {"oof": samples.train["id"].to_numpy()[self.held_out], "test": samples.test["id"].to_numpy()}
        for view, table in logits.items():
            own = meta | ({"view": VIEWS.origin(view)} if VIEWS.origin(view) else {})
            for part, made in (("oof", table[self.held_out]), ("test", table[count:])):
                if len(made):
                    save_logits(logits_file(job.folder, part, view, None), ids[part], made, samples.classes, own)


def _best_scale(target: TargetType, truth: np.ndarray, logits: np.ndarray) -> tuple[float, float]:
    """The factor of the logits whose loss is least, and that loss: prototypes are too sure of themselves."""
    losses = {float(scale): target.plain_loss(truth, logits * np.float32(scale)) for scale in SCALES}
    scale = min(losses, key=losses.get)
    return scale, losses[scale]
