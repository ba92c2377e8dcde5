"""The notebook that answers a hidden test set at Kaggle, or trains there: built, pushed, run and submitted.

usage: python -m src.kernel [config=NAME | run=NAME] [--push] [-m MESSAGE] [--wait=MINUTES] [--again] [kernel.hours=9]
       python -m src.kernel --train [config=NAME | run=NAME] [fold=0..4] [seed=0] [--dry-run] [key=value ...]

Without a flag the folder runs/<competition>/<run>/kernel/ is built: the exported models (first: python -m src.predict
--export), what Podium needs there as a wheel, and an offline notebook. Nothing is sent.
  --push           upload it as a dataset and a notebook, both private, wait for the run, and submit its version
  -m MESSAGE       what Kaggle shows beside the submission; by default the run and its out-of-fold score
  --wait=MINUTES   wait for the score that long: 10 by default, 0 not at all
  --again          submit what was submitted before
  --train          train at Kaggle, on its GPU, and bring the run back here; where the time limit comes first, go on
                   from the last checkpoint. To go on later, or on another day: the same command again
  --dry-run        build the folder and send nothing, also with --push and --train
  kernel.hours=9   the time limit: the notebook times its first 200 images and leaves out views where it must
  kernel.wheels=FOLDER   wheels that Kaggle's image lacks, or that it has in another version
  kernel.user=NAME kernel.machine=NvidiaTeslaT4   your name at Kaggle, and the accelerator
"""

import math
import sys

from src.command import parse
from src.errors import UsageError, exit_code

FLAGS = ("--push", "--train", "--dry-run", "--wait", "--again", "-m", "--message")


def door(argv: list[str]) -> None:
    if "--help" in argv or "-h" in argv:
        print(__doc__.strip())
        return
    request = parse(_joined(argv), FLAGS)
    flags = request.flags
    valued = [flag for flag in ("--push", "--train", "--dry-run", "--again") if flags.get(flag)]
    if valued or {"--push", "--train"} <= set(flags):
        raise UsageError(f"{valued[0]} takes no value" if valued else "--push and --train: one at a time")
    minutes = _minutes(flags.get("--wait") or "10")
    if "--train" in flags:
        from src.notebooks.train import train_there

        train_there(request, dry="--dry-run" in flags)
        return
    if request.folds or request.seeds != (0,):
        raise UsageError("fold= and seed= are chosen when the models are exported: python -m src.predict --export")
    # Imported only now: torch takes seconds, a misspelt flag is told at once.
    from src.notebooks.predict import build, push

    folder = build(request)
    if "--push" in flags and "--dry-run" not in flags:
        push(request, folder, flags.get("-m") or flags.get("--message") or "", minutes, again="--again" in flags)
    else:
        print("nothing was sent. To upload, run and submit it: the same command with --push")


def _joined(words: list[str]) -> list[str]:
    """-m MESSAGE as the one word -m=MESSAGE."""
    place = next((place for place, word in enumerate(words) if word in ("-m", "--message")), None)
    if place is None:
        return words
    if place + 1 == len(words):
        raise UsageError(f"{words[place]}: give a message, for example {words[place]} 'resnet50, five folds'")
    return [*words[:place], f"{words[place]}={words[place + 1]}", *words[place + 2 :]]


def _minutes(word: str) -> float:
    try:
        minutes = float(word)
    except ValueError:
        minutes = math.nan
    if not 0 <= minutes < math.inf:
        raise UsageError(f"--wait={word}: write minutes, such as --wait=10, or --wait=0 to wait not at all")
    return minutes


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    return exit_code(door, argv)


if __name__ == "__main__":
    sys.exit(main())
