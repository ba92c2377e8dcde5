"""Folds whose last layer alone is fitted, on the features that a frozen network has of every image.

What comes of it is a run like any other: the network with its last layer set, and the logits of every view, which here
are the features times that layer. With `probe.features` another program brings the features, and the layer is all.
"""

import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from src.competition.competition import Competition
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
from src.inference.brought_features import BroughtFeatures, brought_features
from src.inference.logits_store import logits_file, save_logits
from src.inference.network_features import FP32, NetworkFeatures, check_begins_trained
from src.inference.tta import PLAIN, VIEWS, view_names
from src.models.classifier import JOINED
from src.models.factory import Network, build
from src.models.features import Head, put_back, without_head
from src.models.joined import Joined
from src.training.evaluate import Scores
from src.training.finish import write_fold
from src.training.fitted_head import fit_head, head_kinds
from src.training.fold_job import FoldJob
from src.training.machine import choose, cores

Held = dict[Path, dict[str, torch.Tensor]]  # {where the features lie: {view: (all rows, width)}}


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
    head_kinds(config, competition.target)
    if brought is None:
        check_begins_trained(config.model)
        network = build(config.model, len(competition.samples.classes), config.images.size, competition.target)
        parameters = sum(p.numel() for p in network.parameters())
        without_head(network)
        what = f"{config.model.name}: {parameters / 1e6:.2f} M parameters, frozen, {config.images.size} px"
    else:
        brought.check(run)
        parameters, what = brought.width * len(competition.samples.classes), "a last layer alone"
    save_or_verify(run, competition)
    fp32 = config.model_copy(update={"train": config.train.model_copy(update={"precision": FP32})})
    machine = choose(fp32, parameters, run.folder / "machine.json", lambda machine: machine)
    threads = cores() if config.machine.threads == "auto" else config.machine.threads
    torch.set_num_threads(threads)
    log.info(f"{what}, on {machine.device}")
    held: Held = {}
    for seed, fold in members:
        job = FoldJob(competition, None, run, machine, seed, fold, 1, threads, None, ALONE)
        with only_one(job.folder, f"{job.name} of run {run.name}"):
            if not run.finished(seed, fold):
                sweep_parts(job.folder)
                _ProbeFold(job, reporter, brought, held).run()


class HeadAlone(nn.Module):
    """In place of a network, where another program brings the features: its backbone is to be the last layer alone."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.head = nn.Identity()


class _ProbeFold:
    """The fit of one fold of one seed."""

    def __init__(self, job: FoldJob, reporter: Reporter, brought: BroughtFeatures | None, held: Held) -> None:
        """held: what the fold before it has read, to be read no more."""
        self.job, self.reporter, self.held, competition = job, reporter, held, job.competition
        self.competition, self.config, self.target = competition, competition.config, competition.target
        self.outputs = len(competition.samples.classes)
        self.rows, self.held_out = competition.folds.rows(job.fold)
        size, wanted = self.config.images.size, self.config.predict.views
        self.learned = view_names(self.config.probe.views, size)
        self.views = tuple(dict.fromkeys((*PLAIN, *self.learned, *view_names(wanted, size))))
        self.brought = brought
        if self.brought:
            self.learned = self.brought.among(self.learned)
            self.views = tuple(view for view in self.views if view in self.brought.views)

    def run(self) -> None:
        begun, job = time.monotonic(), self.job
        network, head = self._network()
        beside = self._beside(head)
        seen = self._seen(network)
        fitting = time.monotonic()
        if beside is not None:
            seen = {view: torch.cat([table, beside], dim=1) for view, table in seen.items()}
        features_mean = torch.stack([seen[view][self.rows] for view in self.learned]).mean(0)
        fitted = fit_head(self.competition, job.fold, features_mean, job.threads)
        put_back(network, fitted.head.put(head))
        logits = {view: fitted.head.logits(table).numpy() for view, table in seen.items()}
        seconds, scores = time.monotonic() - fitting, self._scores(logits[PLAIN[0]])
        entry = self._entry(logits[PLAIN[0]], scores, seconds)
        job.folder.mkdir(parents=True, exist_ok=True)
        with written_whole(job.folder / "log.csv") as part:
            pd.DataFrame([entry]).to_csv(part, index=False)
        told = {"head": fitted.probe, "strength": fitted.strength, "inner_loss": fitted.inner_loss}
        (place,) = self.held
        told |= {"features": self.brought.digest} if self.brought else {"kept": place.name}
        done = {"probe": told, "feature_seconds": round(fitting - begun, 1)}
        log.info(f"{job.name}: {fitted}, inner loss {fitted.inner_loss:.4f}")
        write_fold(job, network.backbone, [entry], done, scores)
        self._store(logits, done["weights"])
        self.reporter.end(job.name)

    def _seen(self, network: "Network | HeadAlone") -> dict[str, torch.Tensor]:
        """{view: (all rows, width)} the features, read once for the folds of a command that begin with one network."""
        features = self.brought or NetworkFeatures(
            self.competition, network, self.config.model.name, self.job.machine.device
        )
        place = self.brought.source if self.brought else features.folder
        if place not in self.held:
            features.ensure(self.views)
            self.held.clear()  # two networks' are never held at once
            self.held[place] = {view: torch.from_numpy(features.read(view)) for view in self.views}
        return dict(self.held[place])

    def _network(self) -> "tuple[Network | HeadAlone, Head]":
        """The network without its last layer, and that layer. Nothing of either is random but what the head forgets."""
        job, config = self.job, self.config
        if self.brought:
            model = config.model
            if not model.columns:
                return HeadAlone(), Head("head", nn.Linear(self.brought.width, self.outputs))
            joined = Joined(self.brought.width, self.outputs, model.metadata, list(model.columns.values()))
            return HeadAlone(), Head(JOINED, joined.layer, joined=joined)
        seed_all(key(job.seed, job.fold, START))
        network = build(config.model, self.outputs, config.images.size, self.target)
        network.to(job.machine.torch_device, memory_format=torch.channels_last).eval()
        return network, without_head(network)

    def _beside(self, head: Head) -> torch.Tensor | None:
        """(all rows, width) what stands beside each picture's features; None where pictures are seen alone."""
        if head.joined is None:
            return None
        branch, cells = head.joined.branch, self.competition.cells
        branch.learn(cells[self.rows])
        with torch.no_grad():
            return branch(torch.from_numpy(cells).to(branch.mean.device)).cpu()

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
