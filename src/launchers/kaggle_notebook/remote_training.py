"""Train a run on a machine that is lent for some hours, such as Kaggle's, and leave all of it in one file.

  PARTS    a folder that python -m src.kernel --train made: request.json, config.yaml, the competition's card.yaml, and
           run.carried where the run was begun before
  DATA     the host's files
Training stops before the hours are over, after a checkpoint; run.carried appears in the folder out=.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from src.competition.sources.kaggle_input import competition_at, places, places_of
from src.core.cli import CommandLine, Result
from src.core.console import log, note
from src.core.errors import Problem, UsageError
from src.core.files import DamagedFile, read_json
from src.core.paths import Run
from src.launchers.kaggle_notebook.run_archive import FILE, STOPPED, bring, pack

CONFIG, REQUEST, IGNORE = "config.yaml", "request.json", "ignore.csv"
SPARE = 0.1  # of the time, for the last checkpoint and the packing
MOST_SPARE = 900.0  # seconds


def train_remotely(parts: Path, data: Path, seconds: float, out: Path) -> None:
    """Train what request.json asks for, for `seconds` at most, predict where all of it is trained, and pack the run.

    Raises Problem where training failed; what was learned is packed before, with the exit code.
    """
    end = time.monotonic() + seconds - min(SPARE * seconds, MOST_SPARE)
    asked = _asked(parts)
    with tempfile.TemporaryDirectory(prefix="podium-") as home:
        competition_at(Path(home), asked["competition"], parts, data)
        (Path(home) / "configs").mkdir()
        shutil.copyfile(parts / CONFIG, Path(home) / "configs" / "away.yaml")
        if asked["ignore"]:
            (Path(home) / asked["ignore"]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(parts / IGNORE, Path(home) / asked["ignore"])
        run = Run(asked["competition"], asked["run"])
        if (parts / FILE).exists():
            bring(parts / FILE, run, {})
        code = 1
        try:
            code = _within(end, "src.train", ["config=away", f"run={run.name}", *asked["words"]])
            if code == 0:
                words = ["--tta", "--export", f"run={run.name}", f"competition={run.competition}", *asked["words"]]
                code = _within(end, "src.predict", words)
        finally:
            pack(run, out / FILE, ended=code)
    if code not in (0, STOPPED):
        raise Problem(
            f"the command above failed with exit code {code}; what was learned before is in {out / FILE}",
            code="training-failed",
        )
    if code == 0:
        note("all-done", "all of it is done")
    else:
        note("time-up", "the time is up: the run goes on from its last checkpoint")


def _asked(parts: Path) -> dict[str, Any]:
    try:
        return read_json(parts / REQUEST)
    except DamagedFile:
        made = "python -m src.kernel --train makes such a folder"
        raise UsageError(f"{parts} holds no {REQUEST} that can be read: {made}", code="no-request") from None


def _within(end: float, module: str, words: list[str]) -> int:
    """Run a command of Podium and repeat what it says; at `end` it is asked to stop. Returns its exit code."""
    left = end - time.monotonic()
    if left <= 0:
        return STOPPED
    line = [sys.executable, "-m", module, *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(line, text=True, errors="replace", env=os.environ.copy(), **pipes) as process:
        timer = threading.Timer(left, process.send_signal, [signal.SIGTERM])
        timer.daemon = True
        timer.start()
        try:
            for text in process.stdout:
                log.info(text.rstrip("\n"))
            return process.wait()
        finally:
            timer.cancel()


COMMAND = places("src.launchers.kaggle_notebook.remote_training", __doc__, out=".")


def work(line: CommandLine) -> Result:
    parts, data, hours, out = places_of(line, out=".")
    train_remotely(parts, data, hours * 3600, out)
    return {"packed": out / FILE}


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    return COMMAND.main(work, argv)


if __name__ == "__main__":
    sys.exit(main())
