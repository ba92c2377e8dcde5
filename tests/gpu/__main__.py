"""Podium on a GPU, proved by one command in under nine minutes, without a network.

usage: python -m tests.gpu OUT [device=cuda] [wheels=FOLDER] [--tiny] [step ...]

Every step is a process of its own with its own limit; what fails or hangs is told, and the others go on. After each of
them OUT/results.json and OUT/table.md are written anew; OUT/log.txt holds what the steps printed.

  device=cpu      the same steps on a processor: what needs a GPU says so
  wheels=FOLDER   packages of requirements.txt that this Python lacks are installed from these files, below OUT
  --tiny          networks and tables so small that the figures mean nothing: to try the script itself
  step ...        these steps only; without any, all of them
"""

import contextlib
import importlib
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
MINUTES = 8.75  # after which no step is begun, and a running one is ended
LEFT_OUT = "left out"  # the status of a step for which there was no time
FEW = ("albumentations", "opencv-python-headless", "omegaconf", "pydantic", "rich", "safetensors", "timm", "torch")


@dataclass(frozen=True)
class Result:
    """What came of a step. status: done, failed, ended (by its limit), absent (what it needs is not here), left out."""

    name: str
    status: str
    seconds: float
    figures: dict[str, Any]
    reason: str = ""


def main(argv: list[str]) -> int:
    """Exit code 0: every step is done or absent; 1: one failed; 2: wrong usage."""
    files = [word for word in argv if not word.startswith("-") and "=" not in word]
    keys = dict(word.split("=", 1) for word in argv if not word.startswith("-") and "=" in word)
    flags = {word for word in argv if word.startswith("-")}
    if not files or set(keys) - {"device", "wheels"} or flags - {"--tiny"}:
        print(__doc__, file=sys.stderr)
        return 2
    if "--tiny" in flags:
        os.environ["OMP_NUM_THREADS"] = "1"  # threads cost more than such networks
    out, begun = Path(files[0]).resolve(), time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    _install(keys.get("wheels"), out)
    from tests.gpu.steps import STEPS, Place

    unknown = [name for name in files[1:] if name not in STEPS]
    if unknown:
        print(f"there is no step {unknown[0]!r}: {', '.join(STEPS)}", file=sys.stderr)
        return 2
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as home:
        place = Place(Path(home), keys.get("device", "cuda"), "--tiny" in flags)
        _prepare(place, out)
        for name in files[1:] or STEPS:
            left = MINUTES * 60 - (time.monotonic() - begun)
            results.append(run_step(name, place, out / "log.txt", left))
            write(out, results, place, time.monotonic() - begun)
            one = results[-1]
            print(f"{one.name}: {one.status}, {one.seconds:.0f} s {one.reason or json.dumps(one.figures)}", flush=True)
    print(out / "table.md")
    return int(any(one.status in ("failed", "ended") for one in results))


def run_step(name: str, place: Any, log: Path, left: float) -> Result:
    """One step, in a process that is ended with its children when its time is over. left: seconds of the whole."""
    from tests.gpu.steps import STEPS

    step = STEPS[name]
    if reason := step.absent(place):
        return Result(name, "absent", 0.0, {}, reason)
    limit = min(step.seconds, left)
    if limit < 5:
        return Result(name, LEFT_OUT, 0.0, {}, "no time is left")
    ours, theirs = multiprocessing.get_context("fork").Pipe(duplex=False)
    begun, child = time.monotonic(), os.fork()
    if child == 0:
        _in_child(step, place, log, theirs)
    theirs.close()
    try:
        # A figure may come before the step's end: what was measured until then is kept.
        figures, text, status = {}, f"ended after {limit:.0f} s", "ended"
        while ours.poll(max(0.0, limit - (time.monotonic() - begun))):
            try:
                kind, told = ours.recv()
            except EOFError:
                status, text = "failed", f"its process ended without an answer, see {log.name}"
                break
            if kind == "figures":
                figures |= told
                continue
            status, text = kind, told
            break
    finally:
        _end_group(child)
    return Result(name, status, round(time.monotonic() - begun, 1), figures, text)


def _in_child(step: Any, place: Any, log: Path, answer: Any) -> None:
    os.setsid()  # its children end with it
    with log.open("ab", buffering=0) as file:
        file.write(f"\n=== {step.name}\n".encode())
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ["PODIUM_HOME"] = str(place.home)
    try:
        step.work(place, lambda **figures: answer.send(("figures", figures)))
        answer.send(("done", ""))
    except BaseException as error:
        import traceback

        traceback.print_exc()
        answer.send(("failed", " ".join(f"{type(error).__name__}: {error}".split())[:300]))
    finally:
        os._exit(0)


def _end_group(child: int) -> None:
    """A process and its children. It may have ended, or not have become its group's head yet."""
    for end in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError):
            end(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _prepare(place: Any, out: Path) -> None:
    """What all steps share is made before them, here, so that each is measured alone."""
    for module in ("src.train", "src.training.run", "src.inference.pipeline", "albumentations", "timm"):
        importlib.import_module(module)  # once: the steps are forked off this process
    (out / "log.txt").write_bytes(b"")
    place.make()


def write(out: Path, results: list[Result], place: Any, seconds: float) -> None:
    """results.json and table.md, whole or not at all."""
    facts = {"device": place.device, "tiny": place.tiny, "commit": _commit(), "seconds": round(seconds, 1)}
    facts |= {"date": time.strftime("%Y-%m-%d"), "packages": {name: _version(name) for name in FEW}}
    tree = facts | {"steps": [vars(one) for one in results]}
    for name, text in (("results.json", json.dumps(tree, indent=1)), ("table.md", table(tree))):
        part = out / f".{name}.part"
        part.write_text(text, encoding="utf-8")
        part.replace(out / name)


def table(tree: dict[str, Any]) -> str:
    """One Markdown table: a line a step, its figures after one another."""
    head = f"{tree['device']}; {tree['date']}; commit {tree['commit'] or 'unknown'}; {tree['seconds']:.0f} s in all; "
    head += ", ".join(f"{name} {text}" for name, text in tree["packages"].items() if text)
    lines = [head, ""]
    if tree["tiny"]:
        lines += ["**A trial at a tiny size: these figures mean nothing.**", ""]
    lines += ["| step | status | seconds | figures |", "| --- | --- | --- | --- |"]
    for step in tree["steps"]:
        figures = "; ".join(f"{name.replace('_', ' ')} {_shown(value)}" for name, value in step["figures"].items())
        told = "; ".join(filter(None, (figures, step["reason"].replace("|", "/"))))
        lines.append(f"| {step['name']} | {step['status']} | {step['seconds']:.0f} | {told} |")
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _install(wheels: str | None, out: Path) -> None:
    """Packages that are missing, from files: the machine has no network."""
    packages = out / "packages"
    missing = [line for line in _requirements() if _version(re.split(r"[=<>\[]", line)[0]) is None]
    if missing and wheels:
        words = ["install", "--quiet", "--no-index", "--no-deps", "--find-links", wheels, "--target", str(packages)]
        names = [re.split(r"[=<>\[]", line)[0] for line in missing]
        for name in names:  # one by one: what there is no file for is told, and the others are there
            done = subprocess.run([sys.executable, "-m", "pip", *words, name], capture_output=True, check=False)
            if done.returncode:
                print(f"no wheel of {name} in {wheels}", flush=True)
    if packages.is_dir():
        sys.path.insert(0, str(packages))
        os.environ["PYTHONPATH"] = os.pathsep.join([str(packages), str(REPOSITORY)])
    for line in missing:
        if _version(re.split(r"[=<>\[]", line)[0]) is None:
            print(f"missing here: {line}", flush=True)


def _requirements() -> list[str]:
    lines = (REPOSITORY / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line.split("#")[0].strip() for line in lines if re.match(r"[A-Za-z]", line)]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str:
    git = shutil.which("git")
    if not git:
        return ""
    done = subprocess.run(
        [git, "-C", str(REPOSITORY), "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
