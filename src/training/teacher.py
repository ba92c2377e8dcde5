"""The teacher of fold k: another run's fold k, and no other model, for it never saw the rows that fold k holds out."""

from dataclasses import dataclass, replace

from src.competition.competition import Competition
from src.config import run_config
from src.config.schema import Config
from src.core.console import note
from src.core.errors import UsageError
from src.core.paths import Run
from src.images.cache import ImageCache
from src.images.stream import ImageStream
from src.losses import loss_of
from src.training.warm_start import earlier_run, seed_of


@dataclass(frozen=True)
class Teacher:
    """A run that teaches, its configuration, and the images as its networks see them."""

    run: Run
    config: Config
    images: ImageCache | ImageStream


def check_distillation(competition: Competition) -> None:
    """Raises UsageError where the section `teach` contradicts itself, the loss or the competition."""
    teach, loss = competition.config.teach, competition.config.loss
    if teach.run is None:
        if teach.pseudo is not None:
            raise UsageError(f"teach.pseudo={teach.pseudo} needs a teacher: add teach.run=NAME", code="no-teacher")
        return
    if loss_of(loss, competition.samples.counts, competition.target).hard:
        raise UsageError(
            f"loss.name={loss.name} needs true classes, and a teacher's answers are shares of several: take "
            f"loss.name=auto",
            code="unfit-for-target",
        )
    if teach.distill == 0 and teach.pseudo is None:
        raise UsageError(
            "teach.distill=0 without teach.pseudo leaves nothing to learn from the teacher: set one",
            code="nothing-to-learn",
        )
    if teach.pseudo is not None and not competition.target.may_be_sure:
        raise UsageError(
            f"teach.pseudo={teach.pseudo}: predictions of {competition.target.name} targets do not tell how sure they "
            "are: leave it out",
            code="unfit-for-target",
        )
    if teach.pseudo is not None and not len(competition.samples.test):
        raise UsageError(
            f"teach.pseudo={teach.pseudo}: {competition.card.id} has no test images to learn from",
            code="no-test-images",
        )


def check_teacher(competition: Competition, run: Run, members: list[tuple[int, int | str]]) -> None:
    """Whether every seed and fold that is to be trained has its teacher.

    Raises UsageError, with the command that helps, where one has not, or has one that saw its held-out rows.
    """
    name = competition.config.teach.run
    if name is None:
        return
    if name == run.name:
        raise UsageError(
            f"teach.run={name}: a run cannot teach itself; give this one another name, run=NAME", code="teaches-itself"
        )
    teacher = earlier_run("teach.run", name, competition)
    if not run_config.is_stored(teacher):
        raise UsageError(
            f"teach.run={name}: {name} was trained elsewhere, and there is no network of it here to teach",
            code="run-external",
        )
    lacking = [fold for seed, fold in members if not teacher.finished(seed_of(teacher, seed, fold), fold)]
    if lacking:
        folds = ",".join(dict.fromkeys(map(str, lacking)))
        raise UsageError(
            f"teach.run={name}: fold {folds} of {name} is not trained, and the model of another fold has seen the "
            "rows that this one holds out. First: python -m src.train "
            f"competition={run.competition} run={name} fold={folds}",
            code="folds-missing",
        )
    train = run_config.read(teacher.folder).train
    if train.keep == "best" or train.patience:
        note(
            "epochs-chosen-by-score",
            f"note: run {name} chose its epochs by their score on the held-out rows, which flatters its score, and may "
            f"flatter this run's a little",
        )


def teacher_of(competition: Competition) -> Teacher | None:
    """The teacher that the configuration names, its images decoded where they are not; None without one."""
    if competition.config.teach.run is None:
        return None
    run = Run(competition.card.id, competition.config.teach.run)
    config = run_config.read(run.folder)
    seen = replace(competition, config=config.model_copy(update={"machine": competition.config.machine}))
    return Teacher(run, config, seen.images())
