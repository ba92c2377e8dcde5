"""What one run answers: its members and views, its held-out rows, and its test rows fold by fold."""

import math
from dataclasses import dataclass

import numpy as np

from src.competition.competition import Competition, open_competition
from src.competition.run_record import verify
from src.config.image_size import SizeWord
from src.config.request import ALL, Request
from src.core.console import log
from src.core.errors import UsageError
from src.core.paths import Run
from src.evaluation.view_selection import ViewChoice, choose_views
from src.images.samplers import sampler_of
from src.inference.backend_choice import use_engine
from src.inference.backends import TORCH, check_precision
from src.inference.external_runs import ExternalTables, check_external_run, existing_run, external_members, is_external
from src.inference.logits_store import PARTS, StoredTables
from src.inference.members import ViewTables, trained_members
from src.inference.score_table import OutOfFold, held_out, held_out_answers, probabilities
from src.inference.trained_networks import Member, refuse_brought_features
from src.inference.tta import PLAIN, view_names, views_of

AUTO = "auto"  # of --tta


@dataclass(frozen=True)
class RunAnswers:
    """oof: None where every member has seen every training row. views: those that answer the test rows."""

    run: Run
    competition: Competition
    members: list[Member]
    tables: StoredTables
    views: tuple[str, ...]
    oof: OutOfFold | None

    @property
    def folds(self) -> list[int | str]:
        return list(dict.fromkeys(member.fold for member in self.members))

    @property
    def test_ids(self) -> np.ndarray:
        return self.competition.samples.test["id"].to_numpy()

    def test(self, views: tuple[str, ...] | None = None, fold: int | str | None = None) -> np.ndarray:
        """(test rows, classes): the mean over views (None: the run's) and members (None: of all folds)."""
        members = [member for member in self.members if fold in (None, member.fold)]
        return probabilities(self.competition, self.tables, members, views or self.views, "test", self.test_ids)

    def shift(self) -> np.ndarray | None:
        """(classes,) what divides weighted sampling out of the probabilities; None where training saw the classes as
        they are, or nothing is known of it."""
        config, (seen, _) = self.competition.config, self.competition.folds.rows(self.folds[0])
        targets = self.competition.samples.targets[seen]
        if is_external(self.run) or config.train.stages:
            return None
        target = self.competition.target
        weights = sampler_of(config.data.sampler, config.data.sampler_exponent).weights(targets, target)
        if weights is None:
            return None
        return target.prior_shift(targets, weights, len(self.competition.samples.classes))

    def __str__(self) -> str:
        seeds = sorted({member.seed for member in self.members})
        models = "one model" if len(self.members) == 1 else f"{len(self.members)} models"
        text = f"{models} (fold {', '.join(sorted(map(str, self.folds)))}"
        text += f"; seeds {', '.join(map(str, seeds))})" if len(seeds) > 1 else ")"
        engine = f", by {self.tables.place.replace('-', ' ')}" if self.tables.place else ""
        return f"{self.run.name}: {text}, views {', '.join(self.views)}{engine}"


def open_run(request: Request) -> tuple[Run, Competition]:
    """A run that exists, and its competition. Raises UsageError or Problem where they do not fit each other."""
    run = existing_run(request)
    if "--export" in request.flags and is_external(run):
        raise UsageError(
            f"--export writes weights into one file, and run {run.name} brings logits alone: leave it out",
            code="run-external",
        )
    if "--export" in request.flags:
        refuse_brought_features(request.config, run.folder)
    if "--export" in request.flags and request.config.predict.engine not in (AUTO, TORCH):
        raise UsageError(
            f"--export writes a file for torch: leave predict.engine={request.config.predict.engine} out",
            code="export-engine",
        )
    if "--export" in request.flags and request.config.model.metadata != "none":
        raise UsageError(
            f"--export writes a file that is given pictures alone, and run {run.name} sees columns beside them: "
            "leave --export out, or train a run with model.metadata=none",
            code="export-metadata",
        )
    _views(request)
    check_precision(request.config.predict.engine, request.config.predict.precision)
    competition = open_competition(request.config, run)
    (check_external_run if is_external(run) else verify)(run, competition)
    if competition.card.submission is None:
        raise UsageError(
            f"{competition.card.id} has no test images, so there is nothing to predict; train tells its scores",
            code="no-test-images",
        )
    return run, competition


def teacher_logits(request: Request, run: Run, competition: Competition) -> RunAnswers:
    """Compute what the store lacks of the run's logits, and choose its views where --tta=auto asks for it."""
    size = competition.config.predict.size or competition.config.images.size
    if is_external(run):
        members, tables = external_members(run, request, competition.folds.count), ExternalTables(competition, run)
    else:
        members, tables = trained_members(run, request), ViewTables(competition, run)
        if "--export" not in request.flags and competition.config.probe.features is None:
            auto = request.flags.get("--tta") == AUTO
            use_engine(tables, members, _wanted(request, size), PLAIN if auto else _views(request, size))
    folds = sorted({member.fold for member in members if member.fold != ALL})
    if request.flags.get("--tta") == AUTO:
        views, oof = _chosen(competition, run, members, tables, folds)
    else:
        views = tables.usable(members, _views(request, size))
        tables.ensure(members, tuple(dict.fromkeys(PLAIN + views)))
        oof = _out_of_fold(competition, members, tables, views, folds) if folds else None
    return RunAnswers(run, competition, members, tables, views, oof)


def _views(request: Request, size: SizeWord | None = None) -> tuple[str, ...]:
    """size: of the images, where it is known."""
    return view_names(request.config.predict.views, size) if "--tta" in request.flags else PLAIN


def _wanted(request: Request, size: SizeWord) -> dict[str, tuple[str, ...]]:
    """The views of each part that a command asks for; with --tta=auto more test views may be wanted later."""
    if request.flags.get("--tta") == AUTO:
        return {"oof": views_of(size), "test": PLAIN}
    views = tuple(dict.fromkeys(PLAIN + _views(request, size)))
    return dict.fromkeys(PARTS, views)


def _out_of_fold(
    competition: Competition, members: list[Member], tables: StoredTables, views: tuple[str, ...], folds: list[int]
) -> OutOfFold:
    held = held_out(competition, folds)
    plain = held_out_answers(competition, tables, members, PLAIN, held)
    return OutOfFold(
        held, plain, held_out_answers(competition, tables, members, views, held) if views != PLAIN else plain
    )


def _chosen(
    competition: Competition, run: Run, members: list[Member], tables: StoredTables, folds: list[int]
) -> tuple[tuple[str, ...], OutOfFold]:
    """Views chosen on the held-out rows; the test rows are seen in these and the plain one only."""
    if not folds:
        raise UsageError(
            f"--tta=auto chooses views on out-of-fold rows, and a model of fold=all has none: choose with trained "
            f"folds of {run.name}, then name the views here, --tta predict.views=[...]",
            code="no-held-out-rows",
        )
    every = tables.usable(members, views_of(competition.config.predict.size or competition.config.images.size))
    tables.ensure(members, every, ("oof",))
    held = held_out(competition, folds)
    answers = {view: held_out_answers(competition, tables, members, (view,), held) for view in every}
    choice = choose_views(held, answers, tables.seconds(members, every), competition.config.predict.budget)
    log.info("\n".join(choice.lines))
    log.info(_format_time(choice, len(members)))
    tables.ensure(members, tuple(dict.fromkeys(PLAIN + choice.views)), ("test",))
    return choice.views, OutOfFold(held, answers[PLAIN[0]], choice.answer)


def _format_time(choice: ViewChoice, members: int) -> str:
    seconds = choice.taken.seconds
    if members == 1 or math.isnan(seconds):
        return "seconds are of one image through one model, without reading it"
    return (
        f"seconds are of one image through one model, without reading it: the {members} models of this run take "
        f"{members * seconds:.4g} s for a test image"
    )
