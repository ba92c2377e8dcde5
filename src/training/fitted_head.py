"""The last layer of one fold, fitted on what the frozen network sees in the fold's training rows.

A probe stops there (probe_folds.py); `train.head_init=probe` trains on from it, all weights: linear probe first, then
fine-tuning (Kumar et al., 2022).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from src.competition.competition import Competition
from src.competition.folds import deal_units, units_of
from src.config.schema import Config
from src.core.console import ProgressReporter, log
from src.core.errors import UsageError
from src.core.reporter import Reporter, RowProgress
from src.core.worker_processes import run_tasks
from src.inference.network_features import NetworkFeatures, check_begins_trained
from src.inference.tta import view_names
from src.models.factory import Network
from src.models.features import Head, put_back, without_head
from src.targets import TargetType
from src.training.fold_job import FoldJob
from src.training.machine import Share, cores
from src.training.probes import AUTO, LinearHead, PrincipalAxes, Probe, probes_of
from src.training.probes.probe import given

ENOUGH = 2000  # inner held-out rows that tell one strength from another
SMALL = 2e8  # multiplications of a pass up to which a second core costs more than it brings
REPEATS = 8  # of a row that weighs 1, where rows count differently
INNER = 5  # inner folds, where the outer ones leave none
SCALES = 2.0 ** np.arange(-4, 1.5, 0.5)  # by which logits are tried to be multiplied


@dataclass(frozen=True)
class FittedHead:
    """A linear head of the kind and strength that did best on inner folds. inner_loss: there.

    parts: of several targets theirs, which stand beside each other in it; its own strength is their largest.
    """

    probe: str
    strength: float
    inner_loss: float
    head: LinearHead
    parts: "tuple[FittedHead, ...]" = ()

    def __str__(self) -> str:
        return ", ".join(map(str, self.parts)) if self.parts else f"{self.probe} of strength {self.strength:g}"


@dataclass(frozen=True)
class _Choice:
    """A kind of head, fitted without an inner fold, and what that tells of it. scale: what its logits are multiplied
    by."""

    probe: Probe
    near: LinearHead
    scale: float
    loss: float


def head_kinds(config: Config, target: TargetType) -> list[Probe]:
    """The kinds of head that are tried. Raises UsageError where there is none for such a target."""
    return probes_of(config.probe.head or AUTO, target)


def fit_head(competition: Competition, fold: int | str, features: torch.Tensor, threads: int) -> FittedHead:
    """The head of the kind and strength that does best on inner folds, fitted on all training rows of the fold.

    features: (training rows, width) float32, the mean over probe.views, which is overwritten.
    """
    before, outputs = torch.get_num_threads(), len(competition.samples.classes)
    torch.set_num_threads(1 if features.numel() * outputs < SMALL else threads)
    try:
        return _fitted(competition, fold, features)
    finally:
        torch.set_num_threads(before)


def _fitted(competition: Competition, fold: int | str, features: torch.Tensor) -> FittedHead:
    samples, target, outputs = competition.samples, competition.target, len(competition.samples.classes)
    rows, _ = competition.folds.rows(fold)
    axes = PrincipalAxes(features.clone())
    turned, truth = axes.turned(features), torch.from_numpy(samples.targets)[torch.from_numpy(rows)]
    weights = None
    if samples.weights is not None:
        weights = torch.from_numpy(samples.weights[rows] / samples.weights[rows].mean()).float()
    data = _Data(turned, weights, _inner_folds(competition, rows))
    kinds = head_kinds(competition.config, target)
    if target.members:
        fitted = _beside([data.fit(probes_of(AUTO, one.target), *_part(one, truth)) for one in target.members])
    else:
        fitted = data.fit(kinds, target, truth, outputs)
    return replace(fitted, head=fitted.head.off(axes))


def _part(part: Any, truth: torch.Tensor) -> tuple[TargetType, torch.Tensor, int]:
    """The target, truth and outputs of one of several targets."""
    return part.target, torch.from_numpy(part.truth(truth.numpy())), part.size


def _beside(found: list[FittedHead]) -> FittedHead:
    """The heads of several targets as one."""
    strength = max(one.strength for one in found)
    weight, bias = (torch.cat([getattr(one.head, name) for one in found]) for name in ("weight", "bias"))
    kinds = "+".join(dict.fromkeys(one.probe for one in found))
    loss = float(np.mean([one.inner_loss for one in found]))
    return FittedHead(kinds, strength, loss, LinearHead(weight, bias, strength), tuple(found))


@dataclass(frozen=True)
class _Data:
    """What the heads of a fold are fitted on. turned: (rows, axes). weights: (rows,) or None. inner: (rows,) folds."""

    turned: torch.Tensor
    weights: torch.Tensor | None
    inner: np.ndarray

    def fit(self, kinds: list[Probe], target: TargetType, truth: torch.Tensor, outputs: int) -> FittedHead:
        """The best of these kinds, in the turned coordinates."""
        some = (_best_strength(one, self.turned, truth, self.weights, self.inner, target, outputs) for one in kinds)
        choice = min(some, key=lambda one: one.loss)
        fitted = choice.probe.refit(self.turned, truth, outputs, choice.near, *given(self.weights))
        return FittedHead(choice.probe.name, choice.near.strength, choice.loss, fitted.times(choice.scale))


def _inner_folds(competition: Competition, rows: np.ndarray) -> np.ndarray:
    """(training rows,) the inner fold of each: the other outer folds, so that groups stay together."""
    found = competition.folds.of_row[rows]
    if len(np.unique(found[found >= 0])) > 1:
        return found
    samples = competition.samples
    strata = competition.target.strata(samples.targets[rows])
    return deal_units(strata, units_of(samples.train)[rows], INNER, competition.config.data.fold_seed)


def _best_strength(
    probe: Probe,
    turned: torch.Tensor,
    truth: torch.Tensor,
    weights: torch.Tensor | None,
    inner: np.ndarray,
    target: TargetType,
    outputs: int,
) -> _Choice:
    """The strength with the least loss on inner held-out rows, of as many inner folds as it takes.

    From the strongest on, until it gets worse.
    """
    parts, scored = [], 0
    for fold in np.unique(inner[inner >= 0]):
        if scored < ENOUGH:
            parts.append(torch.from_numpy(inner == fold))
            scored += int(parts[-1].sum())
    known = torch.cat([truth[held] for held in parts]).numpy()
    counted = slice(None) if weights is None else _as_often(torch.cat([weights[held] for held in parts]).numpy())

    def begun(seen: torch.Tensor) -> Iterator[LinearHead]:
        own = None if weights is None else weights[seen] / weights[seen].mean()
        return probe.path(turned[seen], truth[seen], outputs, probe.strengths, *given(own))

    paths = [begun(~held) for held in parts]
    choices: list[_Choice] = []
    for heads in zip(*paths, strict=True):
        answers = [head.logits(turned[held]).numpy() for head, held in zip(heads, parts, strict=True)]
        scales = SCALES if probe.calibrated else (1.0,)
        scale, loss = _best_scale(target, known[counted], np.concatenate(answers)[counted], scales)
        choices.append(_Choice(probe, heads[0], scale, loss))
        best = min(choices, key=lambda one: one.loss)
        if best is not choices[-1]:
            break
    return best


def _as_often(weights: np.ndarray) -> np.ndarray:
    """Rows, each as often as it weighs, to one part in REPEATS: any loss of these is a weighted one."""
    ends, count = np.cumsum(weights), REPEATS * len(weights)
    return np.searchsorted(ends, (np.arange(count) + 0.5) * ends[-1] / count)


def _best_scale(
    target: TargetType, truth: np.ndarray, logits: np.ndarray, scales: Iterable[float]
) -> tuple[float, float]:
    """The factor of the logits whose loss is least, and that loss: prototypes are too sure of themselves."""
    losses = {float(scale): target.plain_loss(truth, logits * np.float32(scale)) for scale in scales}
    scale = min(losses, key=losses.get)
    return scale, losses[scale]


# A training that begins with such a head


def check_head_init(competition: Competition, network: Network) -> None:
    """Raises Problem or UsageError where train.head_init=probe cannot be. The network is left as it was."""
    if competition.config.probe.features is not None:
        raise UsageError(
            "train.head_init=probe trains the network that makes the features, and probe.features brings them without "
            "one: leave it out",
            code="no-network",
        )
    check_begins_trained(competition.config.model)
    if not all(kind.linear for kind in head_kinds(competition.config, competition.target)):
        raise UsageError(
            f"train.head_init=probe trains a linear last layer on, and probe.head={competition.config.probe.head} fits "
            f"another: leave probe.head out",
            code="no-linear-head",
        )
    put_back(network, without_head(network))


def compute_features(competition: Competition, network: Network, device: str, share: Share) -> None:
    """Make the features that the heads of all folds are fitted on, where they are not kept yet."""
    with _frozen(competition, network, device) as (features, _):
        config = competition.config
        missing = features.missing(view_names(config.probe.views, config.images.size))
        if not missing:
            return
        total = len(competition.samples.train) + len(competition.samples.test)
        with ProgressReporter(what="features", unit="image") as terminal:
            terminal.show("features", RowProgress(total))
            # Never in this process where folds are forked off it: what computed with threads cannot be forked.
            run_tasks([partial(_compute, features, missing, total)], share.jobs, terminal, share.gpus)


def begin_from_probe(job: FoldJob, network: Network) -> None:
    """Give a network, on the CPU, the last layer that is fitted on the training rows of its fold."""
    competition = job.competition
    with _frozen(competition, network, "cpu") as (features, head):
        views = view_names(competition.config.probe.views, competition.config.images.size)
        features.ensure(views)
        rows, _ = competition.folds.rows(job.fold)
        seen = torch.from_numpy(np.mean([features.read(view)[rows] for view in views], axis=0))
        fitted = fit_head(competition, job.fold, seen, job.threads)
        head.set(*_in_units(competition, rows, fitted.head))
    log.info(f"{job.name} begins from {fitted} on frozen features, inner loss {fitted.inner_loss:.4f}")


def _in_units(competition: Competition, rows: np.ndarray, head: LinearHead) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of a last layer that is trained on. Where outputs have a unit of their own it makes standardised
    ones: see Network.set_unit."""
    target, truth = competition.target, competition.samples.targets[rows]
    if not target.own_unit:
        return head.weight, head.bias
    unit = torch.from_numpy(np.asarray(target.unit(truth), np.float32))
    mean = torch.from_numpy(np.asarray(target.start(truth, len(unit)), np.float32))
    return head.weight / unit[:, None], (head.bias - mean) / unit


@contextmanager
def _frozen(competition: Competition, network: Network, device: str) -> Iterator[tuple[NetworkFeatures, Head]]:
    """The features that the network makes without its last layer, and that layer, which is put back at the end."""
    head = without_head(network)
    try:
        yield NetworkFeatures(competition, network.eval(), competition.config.model.name, device), head
    finally:
        put_back(network, head)
        network.train()


def _compute(features: NetworkFeatures, views: tuple[str, ...], total: int, reporter: Reporter) -> None:
    threads = features.competition.config.machine.threads
    torch.set_num_threads(cores() if threads == "auto" else threads)
    done = 0

    def told(images: int) -> None:
        nonlocal done
        done += images
        reporter.show("features", RowProgress(total, done))

    features.network.to(features.device, memory_format=torch.channels_last)
    features.ensure(views, told)
    features.network.to("cpu")
    reporter.end("features")
