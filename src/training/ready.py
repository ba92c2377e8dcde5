"""Whether a run's folders, machines and processes are ready for it, found out before the first epoch."""

import os
import secrets
import time

from src.errors import Problem, UsageError
from src.runs import Run, submissions_folder, write_text
from src.training.job import FoldJob
from src.training.lesson import epoch_length, lesson_of
from src.training.ranks import Ranks

PATIENCE = 60  # seconds that a network disk is given to show another machine's files


def check_writable(run: Run) -> None:
    """A folder that cannot be written is found now, not when the answers are ready."""
    for folder in (run.folder, submissions_folder(run.competition)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (PermissionError, NotADirectoryError, FileExistsError) as error:
            raise Problem(f"{folder} cannot be made ({error.strerror}): make room for it, or set PODIUM_HOME") from None
        if not os.access(folder, os.W_OK):
            raise Problem(f"{folder} cannot be written: make it writable, or set PODIUM_HOME to another folder")


def check_shared(run: Run, ranks: Ranks) -> None:
    """Whether every rank works in the leader's folder, and not in one of the same name on its own machine.

    A network disk may take a while to show what the leader wrote.
    """
    if ranks.count == 1:
        return
    word, mark = ranks.same(secrets.token_hex(8)), run.folder / "launch"
    if ranks.leads:
        write_text(mark, word)
    until = time.monotonic() + PATIENCE
    while not mark.exists() or mark.read_text() != word:
        if time.monotonic() > until:
            raise Problem(f"{run.folder} is not the first machine's: all machines must share PODIUM_HOME")
        time.sleep(0.5)
    ranks.meet()
    if ranks.leads:
        mark.unlink()


def check_steps(work: list[FoldJob], ranks: Ranks) -> None:
    """Every rank needs an image of every step."""
    fewest = min(len(lesson_of(job).rows) // epoch_length(job) for job in work)
    if fewest < ranks.count:
        raise UsageError(
            f"a step of {fewest} images cannot be shared by {ranks.count} processes: raise train.batch (or "
            f"train.global_batch), or launch fewer"
        )
