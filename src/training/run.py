"""One training command: everything is checked before the first epoch, then the folds are trained one by one."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch

from src.competition.card import load_card
from src.competition.competition import Competition, open_competition
from src.competition.plan_record import plan_of
from src.competition.run_record import save_or_verify
from src.config import run_config
from src.config.request import ALL, Request
from src.core.console import ProgressReporter, log, note, silenced
from src.core.distributed import Ranks, together
from src.core.errors import Problem, UsageError
from src.core.files import read_json, sweep_parts
from src.core.locks import only_one
from src.core.memory import explain_out_of_memory
from src.core.paths import CHECKPOINT, DONE, Run
from src.core.reporter import Reporter, RowProgress, SilentReporter
from src.core.settings import settings_restored
from src.core.worker_processes import Task, run_tasks
from src.inference.backends import check_precision
from src.inference.tta import view_names
from src.models.factory import build, try_size
from src.models.freezing import NOTHING, freeze
from src.submission.sample_layout import layout_of
from src.training.autotune import Tuner
from src.training.distillation import epoch_length, predict_teachers, report_student_against_teacher
from src.training.evaluate import stored_answers
from src.training.fitted_head import check_head_init, compute_features
from src.training.fold_job import FoldJob, global_batch
from src.training.machine import Share, choose, share_out
from src.training.preflight import check_choices, check_shared, check_steps, check_writable
from src.training.probe_folds import fit_probes
from src.training.stages import stages_of
from src.training.state import optimizer_of
from src.training.teacher import check_teacher, teacher_of
from src.training.trainer import FoldTraining

Member = tuple[int, int | str]  # a seed, and a fold or `all`
MayBegin = Callable[[int, int | str], bool]  # asked when the turn of a seed and fold comes; False leaves it out


def train(request: Request, may_begin: MayBegin | None = None) -> None:
    """Train the asked folds and seeds; finished ones are skipped, stopped ones go on.

    Processes that a launcher started train each fold together. Raises UsageError where the configuration asks for what
    there is not, or differs from the run's; Problem for data that cannot be used, too little memory and a loss that is
    no number; Busy where another process trains the fold.
    """
    with settings_restored(), ProgressReporter() as terminal:
        train_within(request, terminal, may_begin)


def result_of(request: Request) -> dict[str, Any]:
    """What a command that trained found: each fold asked for that is done, with its held-out score."""
    run = Run(request.competition, request.run)
    done = [(seed, fold) for seed, fold in request.members if run.finished(seed, fold)]
    members = [{"seed": seed, "fold": fold} | read_json(run.member(seed, fold) / DONE) for seed, fold in done]
    scores = [one["score"] for one in members if one["fold"] != ALL and one.get("score") is not None]
    return {
        "competition": request.competition,
        "run": request.run,
        "folder": run.folder,
        "metric": load_card(request.competition).metric,
        "mean_score": float(np.mean(scores)) if scores else None,
        "members": members,
    }


def train_within(request: Request, reporter: Reporter, may_begin: MayBegin | None = None) -> None:
    """As `train`, told to whoever has the terminal."""
    with together() as ranks, nullcontext() if ranks.is_main else silenced():
        _train_asked(request, ranks, reporter if ranks.is_main else SilentReporter(), may_begin)


def _train_asked(request: Request, ranks: Ranks, reporter: Reporter, may_begin: MayBegin | None) -> None:
    config, run = request.config, Run(request.competition, request.run)
    # Folds are forked off this process, so it must not start threads of its own: not to choose what is auto either.
    torch.set_num_threads(1)
    view_names(config.predict.views)
    check_precision(config.predict.engine, config.predict.precision)
    if config.budget and not run_config.is_stored(run) and plan_of(run) is None:
        raise UsageError(
            f"budget={config.budget} is planned by ./run.sh and src.train alone: begin run {run.name} with one of "
            f"them, or give budget=null, and what is auto is chosen without measuring",
            code="budget-not-planned",
        )
    with ranks.main_first():
        competition = open_competition(config, run)
    competition = replace(
        competition, config=ranks.broadcast(competition.config)
    )  # what was auto, as the leader chose it
    if competition.card.submission:
        layout_of(competition.card, competition.samples)  # a sample submission that cannot be answered is found now
    check_choices(competition)
    folds = request.folds or tuple(range(competition.folds.count))
    absent = [fold for fold in folds if fold != ALL and fold >= competition.folds.count]
    if absent:
        raise UsageError(f"fold={absent[0]}: with data.validation=host there is fold 0 only", code="bad-fold")
    _log_opening(competition, run)
    check_writable(run)
    wanted = [(seed, fold) for seed in request.seeds for fold in folds]
    left = ranks.broadcast([member for member in wanted if not run.finished(*member)])
    if left and competition.config.only_probe:
        fit_probes(left, competition, run, ranks, reporter)
    elif left:
        _train(left, wanted, competition, run, ranks, reporter, may_begin)
    if not ranks.is_main:
        return
    if not left:
        save_or_verify(run, competition)
    done = [str(fold) for fold in folds if all(run.finished(seed, fold) for seed in request.seeds)]
    if not left:
        note(
            "nothing-to-do",
            f"nothing to do: fold {', '.join(done)} of {run.name} {'is' if len(done) == 1 else 'are'} trained",
        )
    if folds != (ALL,):  # the model of all rows has no score of its own
        _log_scores(competition, run, request.seeds)


def _train(
    members: list[Member],
    asked: list[Member],
    competition: Competition,
    run: Run,
    ranks: Ranks,
    reporter: Reporter,
    may_begin: MayBegin | None,
) -> None:
    """members: what is left of all that is asked for."""
    config = competition.config
    check_teacher(competition, run, members)
    cv2.setNumThreads(0)
    # A throw-away network shows now whether name, weights and size fit, not after the images are decoded.
    network = build(config.model, len(competition.samples.classes), config.images.size, competition.target)
    optimizer_of(config, network)
    for size in {stage.size for stage in stages_of(config)} - {config.images.size}:
        try_size(network, config.model.name, size, len(competition.samples.classes))
    if config.train.checkpointing:
        network.save_memory(config.model.name)
    for frozen in (*(stage.frozen for stage in stages_of(config)), NOTHING):
        freeze(network.backbone, frozen)
    if config.begins_from_probe:
        check_head_init(competition, network)
    with ranks.main_first():
        images, teacher = competition.images(), teacher_of(competition)
        if ranks.is_main:
            save_or_verify(run, competition)
    check_shared(run, ranks)
    parameters = sum(p.numel() for p in network.parameters())
    record = run.folder / "machine.json"
    images_seen = len(members) * config.epochs * len(competition.samples.train)
    tuner = Tuner(config, network, len(asked), images_seen, ranks)
    machine = choose(config, parameters, record, tuner.choose_kind, ranks)
    # By all that is asked for, so that what goes on later has the threads, and the last digits, of what never stopped.
    share = share_out(config, machine, len(asked), ranks, parameters)
    last = asked[len(asked) - share.last :]
    alone = sum(member in last for member in members)
    machine = replace(machine, workers=share.workers)
    note(
        "training-begun",
        f"{config.model.name}: {parameters / 1e6:.2f} M parameters, {config.images.size} px, on {machine.device} in "
        f"{machine.precision}, batch {global_batch(config)}"
        f"{_format_share(machine.device, share, len(members) - alone, alone)}"
        f"{f'; {ranks.count} processes share each batch' if ranks.count > 1 else ''}",
    )
    # Only the leader asks what is finished: a network disk may show it to the others later.
    epochs = ranks.broadcast([_epochs(competition, run, *one) for one in members] if ranks.is_main else [])
    work = [
        FoldJob(competition, images, run, machine, *one, length, threads, teacher, ranks)
        for one, length in zip(members, epochs, strict=True)
        for threads in [share.last_threads if one in last else share.threads]
    ]
    if ranks.is_main:
        predict_teachers(work, share)
        if config.begins_from_probe and not all((job.folder / CHECKPOINT).exists() for job in work):
            compute_features(competition, network, machine.device, share)
    ranks.barrier()
    if ranks.count > 1:
        check_steps(work, ranks)
    for job in work:
        reporter.show(job.name, RowProgress(job.epochs * epoch_length(job)))

    def tasks(waiting: bool) -> Iterator[Task]:
        for job in work:
            if ((job.seed, job.fold) in last) != waiting:
                continue
            if may_begin is None or may_begin(job.seed, job.fold):
                yield partial(_train_fold, job)
            else:
                reporter.end(job.name, "left out")

    run_tasks(tasks(waiting=False), share.jobs, reporter, share.gpus)
    run_tasks(tasks(waiting=True), share.last, reporter)


def _format_share(device: str, share: Share, first: int, last: int) -> str:
    """How folds are trained: so many first, and after them the `last`."""
    if device != "cpu":
        return f"; {share.jobs} folds side by side, each on a GPU of its own" if share.gpus else ""
    parts = []
    for folds, threads in ((min(share.jobs, first), share.threads), (last, share.last_threads)):
        if folds:
            each = _format_threads(threads)
            parts.append(f"{folds} folds side by side, {each} each" if folds > 1 else each)
    return f"{';' if min(share.jobs, first) > 1 or last > 1 else ','} {', then '.join(parts)}"


def _format_threads(threads: int) -> str:
    return "one thread" if threads == 1 else f"{threads} threads"


def _train_fold(job: FoldJob, reporter: Reporter) -> None:
    leads = job.ranks.is_main
    with only_one(job.folder, f"{job.name} of run {job.run.name}") if leads else nullcontext():
        # Another command may have finished it while this one waited.
        if job.ranks.broadcast(job.run.finished(job.seed, job.fold)):
            reporter.end(job.name)
            return
        if leads:
            sweep_parts(job.folder)
        with explain_out_of_memory(job.name):
            FoldTraining(job, reporter).run()


def _epochs(competition: Competition, run: Run, seed: int, fold: int | str) -> int:
    """How long to train. The fold `all` has no held-out rows to stop by: cross-validation tells it."""
    train = competition.config.train
    if fold != ALL or (train.keep == "last" and not train.patience):
        return competition.config.epochs
    folds = run.finished_folds(seed, competition.folds.count)
    if not folds:
        raise Problem(
            "fold=all takes its epochs from cross-validation where train.keep=best or train.patience is set: "
            "train some folds first, or set train.keep=last train.patience=0",
            code="folds-missing",
        )
    counted = "best_epoch" if train.keep == "best" else "epochs"
    epochs = [read_json(run.member(seed, f) / "done.json")[counted] for f in folds]
    chosen = round(float(np.median(epochs)))
    note(
        "epochs-of-folds",
        f"fold all: {chosen} epochs, the median over folds {', '.join(map(str, folds))} "
        f"({', '.join(map(str, epochs))})",
    )
    return chosen


def _log_opening(competition: Competition, run: Run) -> None:
    samples, counts = competition.samples, competition.samples.counts
    counts = counts[counts > 0]
    sizes = f"{counts.min()} to {counts.max()}" if counts.min() < counts.max() else f"{counts.min()}"
    log.info(
        f"{competition.card.id}: {len(samples.train)} training and {len(samples.test)} test images, "
        f"{len(samples.classes)} classes of {sizes} images; "
        f"{competition.folds.count} folds ({competition.folds.hash}); run {run.name}"
    )
    for one in (*samples.notes, *competition.folds.notes):
        note(one.code, f"note: {one.text}")


def _log_scores(competition: Competition, run: Run, seeds: tuple[int, ...]) -> None:
    """Fold by fold and over all of them, from the stored plain-view logits; seeds are averaged."""
    folds = [f for f in range(competition.folds.count) if all(run.finished(seed, f) for seed in seeds)]
    if not folds:
        return
    scores, truth, answers, seen = [], [], [], []
    for fold in folds:
        _, rows = competition.folds.rows(fold)
        answers.append(stored_answers(competition, run, seeds, fold, rows))
        truth.append(competition.samples.targets[rows])
        seen.append(rows)
        scores.append(competition.metric.score(truth[-1], answers[-1], rows=competition.rows.at(rows)))
    overall = competition.metric.score(
        np.concatenate(truth), np.concatenate(answers), rows=competition.rows.at(np.concatenate(seen))
    )
    text = "  ".join(f"fold {fold} {score:.4f}" for fold, score in zip(folds, scores, strict=True))
    spread = f", over folds {np.mean(scores):.4f} ± {np.std(scores, ddof=1):.4f}" if len(folds) > 1 else ""
    note("out-of-fold", f"{competition.metric.name} out of fold: {overall:.4f}{spread}   ({text})")
    report_student_against_teacher(competition, run, seeds, folds)
