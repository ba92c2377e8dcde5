"""The notebook that answers a hidden test set: built from an exported file, pushed, run, and submitted."""

import shutil
from pathlib import Path

from src.competition.card import Card, load_card
from src.config.request import Request
from src.core.console import log
from src.core.errors import Problem, UsageError
from src.core.files import read_json, write_json
from src.core.paths import DONE, Run
from src.export.export_file import Facts, read_export
from src.export.hidden_test import MODEL
from src.launchers.kaggle_notebook.cells import PREDICT
from src.launchers.kaggle_notebook.folder import Folder, FolderWriter, digest_of, format_size, only_user, slug_for
from src.launchers.kaggle_notebook.preflight import look_ahead
from src.submission import ledger
from src.submission.kaggle import kernels
from src.submission.kaggle.command import NotebookVersion, Submission
from src.submission.kaggle.kernels import RunFailed
from src.submission.kaggle.push import AlreadySubmitted, submit_once
from src.submission.submit import slug_of, tell_score

ROOT = "src.export.hidden_test"  # what runs there


def build(request: Request) -> Folder:
    """Write runs/<competition>/<run>/kernel/ anew. Raises UsageError or Problem for what is missing."""
    run, card = Run(request.competition, request.run), load_card(request.competition)
    slug_of(card)
    _check_card(card)
    export = run.folder / "export" / f"{run.name}.safetensors"
    facts = _facts(run, export)
    user = request.config.kernel.user or kernels.user_name()
    path = run.folder / "kernel"
    with only_user(path):
        writer = FolderWriter(path, request, card, user, slug_for(card.kaggle, run.name))
        shutil.copyfile(export, writer.parts / MODEL)
        writer.add_card()
        writer.add_wheels([ROOT])
        folder = writer.finish(PREDICT)
    log.info(
        f"{folder.path}: {format_size(folder.path)}; {len(facts.models)} models, views {', '.join(facts.views)}, "
        f"{request.config.kernel.hours:g} hours at Kaggle, internet off"
    )
    return folder


def push(request: Request, folder: Folder, message: str, minutes: float, again: bool) -> Submission:
    """Upload, run and submit what was built; where an earlier push got so far, go on from there. Raises Problem."""
    card, run, kernel = load_card(request.competition), Run(request.competition, request.run), request.config.kernel
    slug, record = slug_of(card), run.folder / "kernel.json"
    before = None if again else ledger.submitted_before(card.id, folder.digest)
    if before and before.status not in (ledger.PUSHING, "PENDING"):
        raise AlreadySubmitted(before, f"the notebook {folder.kernel}")
    if before is None:
        look_ahead(slug)
    with only_user(folder.path) as lock:
        if digest_of(folder.path) != folder.digest:
            raise Problem(
                f"{folder.path} was built anew by another process meanwhile: give the same command again",
                code="changed-meanwhile",
            )
        _note_origin(run, folder)
        try:
            version = run_there(slug, folder, kernel.hours, record, lock, again)
        except RunFailed:
            kernels.forget(record, kernels.KERNEL)  # the same command runs it anew
            raise
    facts = ledger.facts(card.id, folder.digest)
    score = f", out of fold {facts['oof_score']:.4f}" if "oof_score" in facts else ""
    made = NotebookVersion(folder.kernel, version, folder.digest)
    mine = submit_once(card.id, slug, made, message or f"{request.run}{score}", wait_minutes=minutes, again=again)
    if mine.scored:
        tell_score(mine, facts.get("oof_score"))
    else:
        log.info(
            f"submission {mine.ref} arrived; Kaggle now runs the notebook on the hidden test set, which may take "
            f"{kernel.hours:g} hours. Its score, later: python -m src.submit --sync competition={card.id}"
        )
    return mine


def run_there(slug: str, folder: Folder, hours: float, record: Path, lock: int, again: bool = False) -> int:
    """Let Kaggle have the folder, wait until its notebook has run, and return the notebook's version.

    record: what is noted of it. lock: of the folder, which the uploads hold too. again: as for `kernels.push_once`.
    Raises RunFailed where the notebook failed, and Problem.
    """
    what = (kernels.DATASET, slug, folder.parts, folder.dataset, folder.contents)
    made = kernels.push_once(*what, record, hold=(lock,))
    kernels.await_dataset(slug, folder.dataset, made)
    # A notebook that ran on another version of the dataset is another one.
    digest = f"{folder.digest}-{made}"
    what = (kernels.KERNEL, slug, folder.notebook, folder.kernel, digest)
    version = kernels.push_once(*what, record, hold=(lock,), again=again)
    kernels.await_run(slug, folder.kernel, version, hours)
    return version


def _check_card(card: Card) -> None:
    if card.test is None:
        raise UsageError(f"{card.id} has no test images, so there is nothing to answer", code="no-test-images")
    if card.test.pixels:
        raise UsageError(
            f"the test images of {card.id} stand in a table; a notebook reads image files only", code="test-in-table"
        )


def _facts(run: Run, export: Path) -> Facts:
    """What the exported file tells, once it is known to hold the models that the run has now."""
    make = f"python -m src.predict --tta --export run={run.name} competition={run.competition}"
    if not export.is_file():
        raise Problem(f"there is no {export} yet.\nMake it: {make}", code="missing-export")
    facts, _ = read_export(export)
    for model in facts.models:
        done = run.member(model.seed, model.fold) / DONE
        if done.exists() and read_json(done)["weights"] != model.weights:
            raise Problem(
                f"{export} was made before {model.name} was trained anew.\nMake it again: {make}",
                code="export-outdated",
            )
    return facts


def _note_origin(run: Run, folder: Folder) -> None:
    """Where the notebook's answers come from, for the ledger: like what prediction notes beside its files."""
    facts, _ = read_export(folder.parts / MODEL)
    note = {
        "file": folder.kernel,
        "sha256": folder.digest,
        "runs": [facts.run],
        "seeds": sorted({model.seed for model in facts.models}),
        "folds": sorted({str(model.fold) for model in facts.models}),
        "views": facts.views,
        "metric": facts.score.metric,
        "score": facts.score.model_dump(include={"value", "low", "high"}),
        "config_hash": facts.config_hash,
        "commit": facts.commit,
    }
    write_json(run.folder / f"kernel-{folder.digest[:8]}.json", note)
