"""What the command `python -m src.submit` does: check and push a file, or look at what was pushed."""

import re
from pathlib import Path

from src.competition.card import Card
from src.competition.plan_record import plan_of
from src.competition.samples import load_samples
from src.core.console import log, note
from src.core.errors import Problem, UsageError
from src.core.files import sha256_of
from src.core.paths import Run, submissions_folder
from src.metrics import metric
from src.submission import ledger
from src.submission.check import checked
from src.submission.final import final_two
from src.submission.kaggle import push
from src.submission.kaggle.command import Submission
from src.submission.kaggle.sync import sync_ledger
from src.submission.ledger import Entry


def latest(competition: str, run: str) -> Path:
    """The newest CSV of a run, under the name that no later prediction takes over. Raises Problem.

    Of a run with a budget it is the probe's, or that of both joined, where that was better out of fold; that is told.
    """
    path = submissions_folder(competition) / f"{run}.csv"
    if not path.is_file():
        raise Problem(
            f"there is no {path} yet.\nMake it: python -m src.predict --tta, with the same config= or run=",
            code="no-submission",
        )
    kept = path.with_name(f"{run}-{sha256_of(path)[:8]}.csv")
    kept = kept if kept.is_file() else path
    better = Path((plan_of(Run(competition, run)) or {}).get("submit") or kept)
    own = re.fullmatch(rf"{re.escape(run)}(-[0-9a-f]{{8}})?\.csv", better.name)
    if not own and better.is_file():
        log.info(f"better out of fold than {run} alone: taking {better}; to push the run's own, name {kept}")
        return better
    return kept


def submit(card: Card, file: Path, message: str, minutes: float, again: bool) -> Submission:
    """Check the file, push it, tell its score and return the submission. Raises Problem where any of it fails."""
    check_file(card, file)
    score = ledger.facts(card.id, sha256_of(file)).get("oof_score")
    slug, message = slug_of(card), message or _default_message(file, score)
    mine = push.submit_once(card.id, slug, file, message, wait_minutes=minutes, again=again)
    if mine.scored:
        tell_score(mine, score)
        return mine
    later = f"Do not push it again; its score, later: python -m src.submit --sync competition={card.id}"
    if minutes > 0:
        raise Problem(
            f"submission {mine.ref} arrived, and is not scored after {minutes:g} minutes.\n{later}",
            code="not-scored-yet",
        )
    note("submission-arrived", f"submission {mine.ref} arrived. {later}")
    return mine


def rehearse(card: Card, file: Path, message: str) -> None:
    """Check the file and tell what would be pushed; nothing is asked of Kaggle."""
    check_file(card, file)
    sha256 = sha256_of(file)
    before = ledger.submitted_before(card.id, sha256)
    if before:
        note(
            "submitted-before",
            f"submitted before, on {before.time[:10]}, as {before.ref or before.token} ({before.status})",
        )
    where = card.kaggle or f"Kaggle (there is no `kaggle:` in the card of {card.id} yet)"
    message = message or _default_message(file, ledger.facts(card.id, sha256).get("oof_score"))
    note("nothing-sent", f"would push {file.name} to {where} with the message {message!r}. Nothing was pushed.")


def check_file(card: Card, file: Path) -> None:
    checked(file, card, load_samples(card))
    note("file-checked", f"{file} fits the sample submission of {card.id}")


def sync(card: Card) -> list[Entry]:
    """Bring the ledger up to Kaggle's list, tell what is new, and return it."""
    rows = sync_ledger(card.id, slug_of(card))
    for row in rows:
        scores = f"public {_shown(row.public_score)}  private {_shown(row.private_score)}"
        log.info(f"{row.ref}  {row.status}  {scores}  {row.file}")
    note(
        "ledger-synced",
        f"{card.id}: {f'{len(rows)} rows added to' if rows else 'nothing new for'} {ledger.ledger_file()}",
    )
    return rows


def final(card: Card) -> list[Entry]:
    log.info(f"== {card.id}")
    return final_two(card.id, slug_of(card), metric(card.metric, card.target_type, card.folder).higher_is_better)


def slug_of(card: Card) -> str:
    """The competition's name in Kaggle's addresses. Raises UsageError where the card tells none."""
    if not card.kaggle:
        raise UsageError(
            f"{card.id} is not at Kaggle: its card.yaml has no `kaggle:`.\n"
            "If it is, add `kaggle: NAME`, what follows kaggle.com/competitions/ in its address.",
            code="not-at-kaggle",
        )
    return card.kaggle


def _default_message(file: Path, score: float | None) -> str:
    return file.stem if score is None else f"{file.stem}, out of fold {score:.4f}"


def tell_score(mine: Submission, oof: float | None) -> None:
    shown = {"public": mine.public_score, "private": mine.private_score, "out of fold": oof}
    text = ", ".join(f"{name} {value:.5g}" for name, value in shown.items() if value is not None)
    note("submission-scored", f"submission {mine.ref} is scored: {text}")


def _shown(score: float | None) -> str:
    return "-" if score is None else f"{score:.5g}"
