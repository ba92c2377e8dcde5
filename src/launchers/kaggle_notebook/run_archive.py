"""A run on its way between two machines: its folder and the fold tables, in one file."""

import io
import json
import re
import shutil
import tarfile
import tempfile
from pathlib import Path

from src.competition.sources.archives import unpack
from src.config import run_config
from src.core.errors import Problem
from src.core.files import read_json, sha256_of, written_whole
from src.core.paths import CHECKPOINT, DONE, Run, runs_folder

FILE = "run.carried"  # a tar, under a name that Kaggle does not unpack
ENDED = "ended.json"  # in it: the exit code with which training elsewhere ended
STOPPED = 130  # of training that was stopped at its time limit
MEMBER = re.compile(r"seed\d+/(fold\d+|all)")
SHARED = ("config.yaml", "run.json", "machine.json", "ignored.csv", "plan.json")
KEPT = ("seed*/*/**/*", "predictions/*.json", "export/*.safetensors", *SHARED)


class NotBegun(Problem):
    """A packed run in which nothing was learned."""

    code = "nothing-learned"


def pack(run: Run, file: Path, ended: int = 0) -> None:
    """Write what was learned in `run` so far, and the folds that it stands on, to `file`.

    ended: the exit code of the training that leaves it, for `bring`.
    """
    with written_whole(file) as part, tarfile.open(part, "w") as tar:
        text = json.dumps({"code": ended}).encode()
        entry = tarfile.TarInfo(ENDED)
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text))
        for pattern in KEPT:
            for path in sorted(run.folder.glob(pattern)):
                if path.is_file() and path.name != "lock":
                    tar.add(path, f"run/{path.relative_to(run.folder)}")
        for path in sorted(runs_folder(run.competition).glob("folds-*.csv")):
            tar.add(path, f"folds/{path.name}")


def whole(file: Path) -> bool:
    """Whether `file` is a packed run with nothing missing at its end."""
    try:
        with tarfile.open(file) as tar:
            return (
                all(entry.offset_data + entry.size <= file.stat().st_size for entry in tar) and ENDED in tar.getnames()
            )
    except (tarfile.TarError, OSError, EOFError):
        return False


def checkpoints(run: Run) -> dict[str, str]:
    """{seed0/fold1: SHA-256 of its checkpoint} of the folds that are under way."""
    files = run.folder.glob(f"seed*/*/{CHECKPOINT}")
    return {str(path.parent.relative_to(run.folder)): sha256_of(path) for path in sorted(files)}


def bring(file: Path, run: Run, begun: dict[str, str]) -> int:
    """Put a packed run into `run`, and return the exit code with which it ended. What is finished here stays; a fold
    under way is replaced by what was made of it.

    begun: the `checkpoints` of `run` when it was packed. Raises NotBegun where nothing was learned, Problem where
    another run was packed, or where folds were trained here meanwhile.
    """
    with tempfile.TemporaryDirectory(dir=_made(runs_folder(run.competition)), prefix=".carried-") as temporary:
        folder = Path(temporary)
        shutil.copyfile(file, folder / "packed.tar")
        unpack(folder / "packed.tar", folder / "new")
        new = folder / "new" / "run"
        _same_run(new, run)
        _bring_folds(folder / "new" / "folds", run)
        here = checkpoints(run)
        members = [path for path in sorted(new.glob("seed*/*")) if MEMBER.fullmatch(str(path.relative_to(new)))]
        for member in members:
            name = str(member.relative_to(new))
            if name in here and here[name] != begun.get(name):
                raise Problem(
                    f"{run.folder / name} was trained further here, while it was trained elsewhere: "
                    f"delete one of the two, this folder or {file}",
                    code="trained-twice",
                )
        for path in sorted(new.rglob("*")):
            name = path.relative_to(new)
            if path.is_file() and len(name.parts) < 3:
                _place(path, run.folder / name)
        for member in members:
            _bring_member(member, run.folder / member.relative_to(new))
        return int(read_json(folder / "new" / ENDED)["code"])


def _bring_member(new: Path, old: Path) -> None:
    if (old / DONE).exists():
        same = (new / DONE).exists() and read_json(new / DONE)["weights"] == read_json(old / DONE)["weights"]
        for path in sorted(new.rglob("*")) if same else ():
            if path.is_file():  # logits that were computed there
                _place(path, old / path.relative_to(new))
        return
    shutil.rmtree(old, ignore_errors=True)
    old.parent.mkdir(parents=True, exist_ok=True)
    new.rename(old)


def _place(new: Path, old: Path) -> None:
    if not old.exists():
        old.parent.mkdir(parents=True, exist_ok=True)
        new.rename(old)


def _bring_folds(new: Path, run: Run) -> None:
    for path in sorted(new.glob("folds-*.csv")):
        old = runs_folder(run.competition) / path.name
        if old.exists() and old.read_bytes() != path.read_bytes():
            raise Problem(
                f"{old} has other folds than the run that was trained elsewhere: it cannot be taken in",
                code="run-folds-differ",
            )
        _place(path, old)


def _same_run(new: Path, run: Run) -> None:
    """A run folder belongs to one configuration."""
    if not (new / run_config.CONFIG).exists():
        raise NotBegun("training elsewhere ended before it had begun: allow it more time, or see its log")
    if run_config.is_stored(run) and run_config.differences(run_config.read(run.folder), run_config.read(new)):
        raise Problem(
            f"run {run.name} has another configuration here than there: give run=NEWNAME", code="run-config-differs"
        )


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
