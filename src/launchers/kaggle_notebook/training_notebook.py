"""A run is trained by a notebook at Kaggle, on its GPU, and brought back; as often as its time limit asks for."""

import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import yaml

from src.competition.card import load_card
from src.config import load as configs
from src.config import run_config
from src.config.request import Request
from src.config.schema import Config, check
from src.core.console import log, note
from src.core.errors import Problem, UsageError
from src.core.files import write_json, write_text
from src.core.paths import REPOSITORY, Run, home
from src.launchers.kaggle_notebook.cells import TRAIN
from src.launchers.kaggle_notebook.folder import Folder, FolderWriter, format_size, only_user, slug_for
from src.launchers.kaggle_notebook.inference_notebook import run_there
from src.launchers.kaggle_notebook.remote_training import CONFIG, IGNORE, REQUEST
from src.launchers.kaggle_notebook.run_archive import FILE, STOPPED, NotBegun, bring, checkpoints, pack, whole
from src.launchers.kaggle_notebook.wheel import write_installed_wheel
from src.models.embedded import embedded_of
from src.submission.kaggle import kernels
from src.submission.kaggle.kernels import NoOutput, RunFailed
from src.submission.submit import slug_of

ROOTS = ("src.launchers.kaggle_notebook.remote_training", "src.train", "src.predict")  # what runs there
FOLDER = "kernel-train"
MOST_TURNS = 50  # notebooks, one after the other


def train_there(request: Request, dry: bool = False) -> None:
    """Train the folds and seeds asked for at Kaggle. A command that was stopped goes on where it was.

    dry: build runs/<competition>/<run>/kernel-train/ and send nothing. Raises UsageError or Problem.
    """
    card, run = load_card(request.competition), Run(request.competition, request.run)
    slug = slug_of(card)
    _check_config(request.config, begun=run_config.is_stored(run))
    user = request.config.kernel.user or kernels.user_name()
    if _complete(request, run):
        note("nothing-to-do", f"nothing to do: {run.name} is trained and exported")
        return
    with only_user(run.folder / FOLDER) as lock:
        for _ in range(MOST_TURNS):
            folder = build(request, run, user)
            log.info(f"{folder.path}: {format_size(folder.path)}; {request.config.kernel.hours:g} hours at Kaggle")
            if dry:
                note("nothing-sent", "nothing was sent: the same command without --dry-run trains there")
                return
            _run_session(Session(slug, folder, run, request, lock))
            if _complete(request, run):
                note("next-command", f"to answer the test set at Kaggle: python -m src.kernel run={run.name} --push")
                return
            note("next-session", "going on from there")
    raise Problem(f"not done after {MOST_TURNS} notebooks: give the same command again to go on", code="not-finished")


@dataclass(frozen=True)
class Session:
    """One notebook, and the run that it trains. lock: of the folder."""

    slug: str
    folder: Folder
    run: Run
    request: Request
    lock: int

    @property
    def record(self) -> Path:
        return self.run.folder / "training.json"


def _run_session(session: Session) -> None:
    """Push the notebook, wait until it has run, and bring the run back, also where it failed there.

    Raises Problem where it failed or did not get further; the same command then begins another one.
    """
    begun, before = checkpoints(session.run), _progress(session.request, session.run)
    failed: Problem | None = None
    try:
        run_there(session.slug, session.folder, session.request.config.kernel.hours, session.record, session.lock)
    except RunFailed as problem:
        failed = problem
    try:
        code = _fetched(session, begun)
    except (NoOutput, NotBegun) as problem:
        kernels.forget(session.record, kernels.KERNEL)
        raise failed or problem from None
    note("brought-here", f"brought here: {_format(session.request, session.run)}")
    if not failed and code not in (0, STOPPED):
        failed = Problem(f"training failed there (exit code {code}){_log(session)}", code="training-failed")
    elif (
        not failed and not _complete(session.request, session.run) and _progress(session.request, session.run) == before
    ):
        hours = session.request.config.kernel.hours
        failed = Problem(f"the notebook of {hours:g} hours did not get further{_log(session)}", code="no-progress")
    if failed:
        kernels.forget(session.record, kernels.KERNEL)
        raise failed


def _fetched(session: Session, begun: dict[str, str]) -> int:
    """Fetch what the notebook packed and take it in; returns the exit code of its training. Once it has come it is
    kept until it is taken in, so that it comes once however often the command is given. Raises Problem."""
    fetched = session.run.folder / "fetched"
    folder = fetched / session.folder.digest[:12]
    file = kernels.fetch_output(session.slug, session.folder.kernel, FILE, folder, whole)
    try:
        code = bring(file, session.run, begun)
    except NotBegun as problem:
        shutil.rmtree(fetched)
        raise NotBegun(f"{problem}{_log(session)}") from None
    shutil.rmtree(fetched)
    return code


def _log(session: Session) -> str:
    return f". The end of its log:\n{kernels.log_end(session.slug, session.folder.kernel)}"


def build(request: Request, run: Run, user: str) -> Folder:
    """Write runs/<competition>/<run>/kernel-train/ anew, with what was learned so far."""
    card, config = load_card(request.competition), request.config
    writer = FolderWriter(run.folder / FOLDER, request, card, user, slug_for(card.kaggle, run.name, "train"))
    writer.add_card()
    learned = _for_there(config)
    write_text(writer.parts / CONFIG, yaml.safe_dump(learned.model_dump(), sort_keys=False, allow_unicode=True))
    words = [f"seed={','.join(map(str, request.seeds))}"]
    words += [f"fold={','.join(map(str, request.folds))}"] if request.folds else []
    asked = {"competition": card.id, "run": run.name, "words": words, "ignore": config.data.ignore}
    write_json(writer.parts / REQUEST, asked)
    if config.data.ignore:
        shutil.copyfile(home() / config.data.ignore, writer.parts / IGNORE)
    if (run.folder / "run.json").exists():
        pack(run, writer.parts / FILE)
    kinds = ("default.yaml", "model/*.yaml", "augment/*.yaml")
    files = [str(path.relative_to(REPOSITORY)) for kind in kinds for path in (REPOSITORY / "configs").glob(kind)]
    writer.add_wheels(ROOTS, files)
    embedded = embedded_of(config.model.name) if config.model.pretrained is not False else None
    if embedded:
        write_installed_wheel(writer.parts, embedded.package)
    # Published weights come from timm's hub, but for those that go along: only that needs the internet.
    return writer.finish(TRAIN, internet=config.model.pretrained is not False and not embedded)


def _for_there(config: Config) -> Config:
    """The configuration with the machine's own choices left to that machine."""
    usual = configs.load_tree(configs.config_file("default"))
    return check(config.model_dump() | {"machine": usual["machine"]})


def _check_config(config: Config, begun: bool) -> None:
    """Files of this machine that the notebook would need and does not get, and a plan by speeds of this machine."""
    if config.budget and not begun:
        raise UsageError(
            f"budget={config.budget} is planned by ./run.sh and src.train alone: give budget=null, or name a "
            f"configuration, config=NAME",
            code="budget-not-planned",
        )
    if config.model.weights:
        raise UsageError(
            f"model.weights={config.model.weights}: a notebook does not have these weights; train here",
            code="not-for-kernel",
        )
    if config.teach.run:
        raise UsageError(
            f"teach.run={config.teach.run}: a notebook does not have that run; train here", code="not-for-kernel"
        )
    if config.probe.features is not None:
        raise UsageError(
            f"probe.features={config.probe.features}: a notebook does not have this file; train here",
            code="not-for-kernel",
        )
    ignore = config.data.ignore
    if ignore and (PurePosixPath(ignore).is_absolute() or ".." in PurePosixPath(ignore).parts):
        raise UsageError(
            f"data.ignore={ignore}: for a notebook, name it from the folder that holds configs/", code="not-for-kernel"
        )


def _members(request: Request) -> list[tuple[int, int | str]]:
    folds = request.folds or tuple(range(1 if _host(request) else request.config.data.folds))
    return [(seed, fold) for seed in request.seeds for fold in folds]


def _host(request: Request) -> bool:
    return request.config.data.validation == "host"


def _complete(request: Request, run: Run) -> bool:
    exported = (run.folder / "export" / f"{run.name}.safetensors").exists()
    return exported and all(run.finished(*member) for member in _members(request))


def _progress(request: Request, run: Run) -> object:
    """What changes as long as training, and the prediction after it, get further."""
    answered = sorted(path.relative_to(run.folder) for path in run.folder.glob("seed*/*/logits/*"))
    return checkpoints(run), [run.finished(*member) for member in _members(request)], answered


def _format(request: Request, run: Run) -> str:
    members = _members(request)
    done, begun = sum(run.finished(*member) for member in members), len(checkpoints(run))
    return f"{done} of {len(members)} folds are trained" + (f", {begun} under way" if begun else "")
